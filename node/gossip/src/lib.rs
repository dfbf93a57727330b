//! Presence of stations over libp2p: lossy, scored, always re-merging.
