//! openraft under the Tetryx state machine: durable log and state, snapshots, proposals.
