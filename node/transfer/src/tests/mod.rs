//! Tests over links in memory.
