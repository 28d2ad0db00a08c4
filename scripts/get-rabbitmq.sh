#!/usr/bin/env bash
# Makes sure that Dormouse's development node and tests find a RabbitMQ on this machine.
#
#   scripts/get-rabbitmq.sh              any version: this machine's package, or Docker
#   scripts/get-rabbitmq.sh 3.10         the same, and it must be 3.10
#   scripts/get-rabbitmq.sh 4.0 | 4.3    a whole Debian in a directory, run by chroot, beside whatever is installed
#   scripts/get-rabbitmq.sh newcomer     the one of 4.0, with systemd, for scripts/newcomer.sh
#
# Directories go to $DORMOUSE_BROKERS, default .dormouse/brokers. Nothing is ever started here.
# Exit codes: 0 it is there, 1 it is not, 3 skipped (this machine cannot hold that version).
set -euo pipefail

readonly SERVER=usr/lib/rabbitmq/bin/rabbitmq-server
readonly LIBRARIES=usr/lib/rabbitmq/lib
readonly SKIPPED=3

main() {
    case "${1:-any}" in
    any) any_version ;;
    3.10) version_3_10 ;;
    4.0) debian_root 4.0 trixie ;;
    4.3) debian_root 4.3 forky ;;
    newcomer) debian_root 4.0 trixie newcomer ,systemd-sysv,dbus ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" ;;
    *) fail "unknown version $1: it is 3.10, 4.0, 4.3 or newcomer" ;;
    esac
}

any_version() {
    if [[ -e /$SERVER ]]; then
        say "RabbitMQ $(version_in /) is here: nothing to do."
    elif is_root && command -v apt-get >/dev/null; then
        install_without_starting rabbitmq-server
        forget_services
        say "RabbitMQ $(version_in /) is installed, and not running as a service."
    elif docker info --format '{{.ServerVersion}}' >/dev/null 2>&1; then
        say "Docker answers: Dormouse will run RabbitMQ in a container."
    else
        fail "no RabbitMQ here: install the package rabbitmq-server (Debian and Ubuntu; as root, this script does it) or start Docker."
    fi
}

version_3_10() {
    if [[ -e /$SERVER ]]; then
        [[ $(version_in /) == 3.10.* ]] || skip "3.10" "this machine's package is $(version_in /)"
    elif ! is_root; then
        skip "3.10" "installing Debian 12's package rabbitmq-server needs root"
    elif ! apt_offers 3.10; then
        skip "3.10" "only Debian 12's packages have it, and this is not Debian 12"
    fi
    any_version
}

# debian_root VERSION SUITE [NAME] [,PACKAGE…]: the whole of SUITE with rabbitmq-server in it, as one directory.
debian_root() {
    local version=$1 suite=$2 name=${3:-$1} more=${4:-} brokers root
    brokers=${DORMOUSE_BROKERS:-$(dirname "$(dirname "$(realpath "$0")")")/.dormouse/brokers}
    root=$brokers/$name
    if [[ -e $root/$LIBRARIES ]]; then
        say "RabbitMQ $(version_in "$root") is here: $root"
        return
    fi
    is_root || skip "$version" "building and running a Debian in a directory needs root"
    if ! command -v debootstrap >/dev/null; then
        command -v apt-get >/dev/null || skip "$version" "it needs the program debootstrap"
        install_without_starting debootstrap
    fi
    mkdir -p "$brokers"
    build=$(mktemp -d "$brokers/.building-$name.XXXXXX")
    on_exit 'rm -rf --one-file-system "$build"'
    chmod 755 "$build"

    say "Building Debian $suite with RabbitMQ in $root: some 300 MB, a minute or two ..."
    debootstrap_into "$suite" "$build" "$more"
    local got
    got=$(version_in "$build")
    [[ $got == "$version".* ]] || skip "$version" "Debian $suite has RabbitMQ $got by now"
    rm -rf "$build"/var/cache/apt/archives/*.deb "$build"/var/lib/apt/lists/*
    mv -T "$build" "$root"
    say "RabbitMQ $got is ready: $root"
}

debootstrap_into() {
    local suite=$1 target=$2 log=$2.log script mirror
    # A debootstrap older than the suite lacks its script, and all Debian suites share the one of sid.
    script=/usr/share/debootstrap/scripts/$suite
    [[ -e $script ]] || script=/usr/share/debootstrap/scripts/sid
    mirror=$(debian_mirror)
    on_exit 'rm -f "$build.log"'
    # debootstrap forbids services to start while it configures the packages, by itself.
    # It mounts /proc and /sys inside: in a namespace of its own, since mounts that a kill leaves behind would
    # lead whoever deletes the folder into the machine's own.
    if ! unshare --mount debootstrap --variant=minbase --include="rabbitmq-server$3" "$suite" "$target" "$mirror" "$script" >"$log" 2>&1; then
        tail -n 15 "$log" "$target/debootstrap/debootstrap.log" >&2 2>/dev/null || true
        fail "debootstrap of Debian $suite failed; the end of its log is above, and nothing was left behind."
    fi
}

# The Debian mirror that this machine's apt uses; empty, and so debootstrap's own default, if there is none.
debian_mirror() {
    grep -qsx 'ID=debian' /etc/os-release || return 0
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' 2>/dev/null |
        grep -E '/debian/?$' | sort -u | head -n 1 || true
}

# install_without_starting PACKAGE: apt-get install, with services forbidden to start meanwhile.
install_without_starting() {
    local package=$1 policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        on_exit "rm -f $policy"
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    say "Installing the package $package ..."
    export DEBIAN_FRONTEND=noninteractive
    if ! apt_install "$package" 2>/dev/null; then
        apt-get -o DPkg::Lock::Timeout=300 update -q >&2 || fail "apt-get update failed; its words are above."
        apt_install "$package" || fail "apt-get install $package failed; its words are above."
    fi
}

apt_install() {
    apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "$1" >&2
}

# A reboot must not start what this script installed.
forget_services() {
    command -v systemctl >/dev/null || return 0
    local unit
    for unit in rabbitmq-server.service epmd.socket epmd.service; do
        systemctl disable "$unit" >/dev/null 2>&1 || true
    done
}

apt_offers() {
    command -v apt-cache >/dev/null && [[ $(apt-cache policy rabbitmq-server | awk '/Candidate:/ { print $2 }') == "$1".* ]]
}

version_in() {
    local library
    for library in "${1%/}/$LIBRARIES"/rabbitmq_server-*; do
        echo "${library##*rabbitmq_server-}"
        return
    done
}

is_root() { [[ $(id -u) == 0 ]]; }
say() { echo "$*"; }
fail() { echo "get-rabbitmq: $*" >&2; exit 1; }
skip() { echo "skipped: RabbitMQ $1, because $2."; exit $SKIPPED; }

cleanups=()
on_exit() { cleanups+=("$1"); }
clean_up() {
    local cleanup
    for cleanup in "${cleanups[@]}"; do eval "$cleanup"; done
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

main "$@"
