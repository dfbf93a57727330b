//! Chunks between stations: planned, verified, resumed, from several providers at once.
