//! A simulated world: the node code over an in-memory disk, clock and random source.
