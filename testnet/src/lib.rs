//! Real processes, a real Nix client: demo, end-to-end tests, benchmarks.
