#!/bin/sh
# Installs what the demo, the tests and the benchmarks need and a machine with Debian and Rust may lack.
#
#   setup.sh [demo|test|bench]      what for; default: everything
#
# As root on Debian it installs; otherwise it says what to install and goes on if nothing essential is missing.
set -eu

purpose=${1:-bench}
missing=
essential=

# need PROGRAM PACKAGE [essential]
need() {
    command -v "$1" >/dev/null 2>&1 && return
    [ -x "/usr/sbin/$1" ] && return
    missing="$missing $2"
    [ "${3:-}" = essential ] && essential="$essential $2"
    return 0
}

need nix-store nix-bin essential
need unshare util-linux
need ip iproute2
need cc build-essential essential
case $purpose in
test | bench)
    need debootstrap debootstrap
    need curl curl
    ;;
esac
case $purpose in
bench)
    need nginx nginx-light essential
    need wrk wrk essential
    need etcd etcd-server essential
    need rsync rsync essential
    need python3 python3 essential
    need gcc build-essential
    ;;
esac

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "setup: installing$missing" >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq >&2
        # shellcheck disable=SC2086 # a list of packages
        apt-get install -qq --yes --no-install-recommends $missing >&2
    else
        echo "setup: missing here; on Debian, as root: apt-get install$missing" >&2
        [ -z "$essential" ] || exit 1
    fi
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: a Rust toolchain is missing: https://rustup.rs" >&2
    exit 1
fi

# Private stores stand here, for the commands of the tests only (testnet/src/store.rs).
if [ ! -d /nix ] && [ "$(id -u)" = 0 ]; then
    mkdir /nix
fi

if [ "$purpose" = test ] && ! cargo nextest --version >/dev/null 2>&1; then
    echo "setup: cargo-nextest is missing; the tests run under 'cargo test', one at a time" >&2
fi
