#!/bin/sh
# The main job from end to end: start a station, push a store path, substitute it with a real Nix. See README.md.
set -eu
cd "$(dirname "$0")/.."
./testnet/setup.sh demo
cargo build --quiet --workspace --bins
exec "${CARGO_TARGET_DIR:-target}"/debug/tetryx-testnet demo
