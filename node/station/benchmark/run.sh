#!/bin/sh
# Every pass of many satellites over many stations, by us, by Skyfield and by numpy with the Python package sgp4, on the
# same elements in the same run. Needs cargo and python3; makes its own Python environment under target/.
#
#   run.sh [--pairs N] [options of the example 'network', such as --catalogue FILE --satellites N --stations N|FILE]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
target=${CARGO_TARGET_DIR:-target}
work=$target/pass-benchmark
pairs=300
if [ "${1:-}" = --pairs ]; then
    pairs=$2
    shift 2
fi

if [ ! -x "$work/venv/bin/python" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" --quiet --disable-pip-version-check install numpy sgp4 skyfield
fi
cargo build --quiet --release -p tetryx-station --example network
"$target/release/examples/network" --write "$work/case" "$@"
"$work/venv/bin/python" "$here/peers.py" "$work/case" "$pairs"
