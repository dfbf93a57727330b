#!/bin/sh
# Every test there is: format, lints, unit, property, golden and end-to-end tests, doc tests, simulated worlds. See
# README.md.
set -eu
cd "$(dirname "$0")/.."
./testnet/setup.sh test

# Failures of the end-to-end tests say what went wrong; where it was noticed is noise.
export RUST_LIB_BACKTRACE=0

step() {
    echo "== $*"
    "$@"
}

step cargo fmt --all --check
step cargo clippy --workspace --all-targets -- -D warnings
step cargo build --workspace --bins
if cargo nextest --version >/dev/null 2>&1; then
    step cargo nextest run --workspace
else
    step cargo test --workspace --exclude tetryx-testnet --lib --bins --tests
    # One after the other: each starts whole programs.
    step cargo test --package tetryx-testnet --lib --bins --tests -- --test-threads=1
fi
step cargo test --workspace --doc

# Simulated worlds (docs/SIMULATION.md): 24 hours of whole clusters under faults, some worlds twice, which must not
# differ, and deliberate bugs, each of which must be found. The worlds gain more from an optimized build than it costs;
# the mutants end early. Without --package, so that as little as possible is built anew.
step cargo run --release --quiet --bin tetryx-simulations -- --seeds 1..49 --hours 0.5
step cargo run --release --quiet --bin tetryx-simulations -- --seeds 101..107 --hours 0.25 --twice
step cargo run --quiet --bin tetryx-simulations --features tetryx-simulations/mutants -- --mutants
echo "== everything passed"
