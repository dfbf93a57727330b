#!/bin/sh
# A current Nix beside the machine's own: a Debian chroot with nix-bin, made once and kept.
#
#   current-nix.sh prepare                        makes it if need be, prints its folder
#   current-nix.sh run FOLDER WORK COMMAND...     runs a command in it; WORK of this machine is /mnt inside
#
# Environment: TETRYX_NIX_SUITE (default trixie; sid for the newest), TETRYX_DEBIAN_MIRROR (default: this machine's).
# The chroot lies in $XDG_CACHE_HOME/tetryx. Exit code 77: it cannot be made here, the reason is on stderr.
set -eu

suite=${TETRYX_NIX_SUITE:-trixie}

skip() {
    echo "current-nix: skipped: $1" >&2
    exit 77
}

# Where this machine's apt gets Debian from; the security archive and other vendors' do not count.
mirror() {
    if [ -n "${TETRYX_DEBIAN_MIRROR:-}" ]; then
        echo "$TETRYX_DEBIAN_MIRROR"
        return
    fi
    found=$(apt-get --print-uris update 2>/dev/null |
        sed -n "s|^'\(https\{0,1\}://[^']*/debian\)/dists/.*|\1|p" | head -n 1)
    echo "$found"
}

inside() {
    folder=$1 work=$2
    shift 2
    # Private mounts: they end with the command, whatever ends it.
    exec unshare --mount --propagation private sh -euc '
        folder=$1 work=$2
        shift 2
        mount -t proc proc "$folder/proc"
        mount --rbind /dev "$folder/dev"
        mount --bind "$work" "$folder/mnt"
        exec chroot "$folder" "$@"' sh "$folder" "$work" "$@"
}

prepare() {
    [ "$(id -u)" = 0 ] || skip "a chroot takes root; run the tests as root to have them run against a current Nix too"
    unshare --mount --propagation private true 2>/dev/null || skip "private mounts are not allowed here (an unprivileged container?)"
    command -v debootstrap >/dev/null || skip "debootstrap is missing; run testnet/setup.sh, or: apt-get install debootstrap"
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/tetryx
    folder=$cache/nix-$suite
    mkdir -p "$cache"
    exec 9>"$cache/nix-$suite.lock"
    flock 9
    if [ ! -e "$folder/.ready" ]; then
        rm -rf --one-file-system "$folder"
        mirror=$(mirror)
        [ -n "$mirror" ] || skip "apt names no Debian mirror here; set TETRYX_DEBIAN_MIRROR"
        debootstrap --variant=minbase "$suite" "$folder" "$mirror" >&2
        (inside "$folder" /tmp env DEBIAN_FRONTEND=noninteractive \
            apt-get install --yes --no-install-recommends nix-bin) >&2
        rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
        touch "$folder/.ready"
    fi
    echo "$folder"
}

case ${1:-} in
prepare) prepare ;;
run)
    shift
    inside "$@"
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
