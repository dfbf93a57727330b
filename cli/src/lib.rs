//! The Tetryx operator tool: push, pull, caches, tokens.
