#!/bin/sh
# The main job from end to end: push at one of three stations, lose it, substitute at another with a real Nix.
set -eu
cd "$(dirname "$0")/.."
./testnet/setup.sh demo
cargo build --quiet --workspace --bins
exec "${CARGO_TARGET_DIR:-target}"/debug/tetryx-testnet demo
