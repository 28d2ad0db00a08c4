#!/usr/bin/env bash
# Makes sure that the tests of idempotent handling find Redis and PostgreSQL on this machine.
#
#   scripts/get-stores.sh     the packages redis-server and postgresql of Debian or Ubuntu
#
# Nothing is ever started here: each test starts a server of its own, on a port and in a folder of its own.
# Exit codes: 0 they are there, 3 skipped (they are not, and cannot be installed here).
set -euo pipefail

readonly SKIPPED=3

main() {
    case "${1:-}" in
    "") ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" && return ;;
    *) echo "get-stores: unknown argument $1; it takes none" >&2 && exit 1 ;;
    esac
    has_redis || install_without_starting redis-server redis-server.service
    has_postgres || install_without_starting postgresql postgresql.service
    has_redis || skip "redis-server" "its package came without the program"
    has_postgres || skip "postgresql" "its package came without /usr/lib/postgresql/*/bin/initdb"
    echo "Redis $(redis-server --version | grep -o "v=[^ ]*" | cut -c 3-) and $("$(newest_postgres)/postgres" --version) are here."
}

has_redis() { command -v redis-server >/dev/null; }
has_postgres() { [[ -n $(newest_postgres) ]]; }

# Debian keeps each version's programs in a folder of its own, outside PATH.
newest_postgres() {
    local initdb
    for initdb in $(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -rV); do
        [[ ! -x $initdb ]] || { dirname "$initdb"; return; }
    done
}

# install_without_starting PACKAGE SERVICE: apt-get install, with services forbidden to start now and at a reboot.
install_without_starting() {
    local package=$1 service=$2 policy=/usr/sbin/policy-rc.d
    [[ $(id -u) == 0 ]] || skip "$package" "installing it needs root"
    command -v apt-get >/dev/null || skip "$package" "this machine has no apt-get"
    if [[ ! -e $policy ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        trap 'exit 130' INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    echo "Installing the package $package ..."
    export DEBIAN_FRONTEND=noninteractive
    if ! apt_install "$package" 2>/dev/null; then
        apt-get -o DPkg::Lock::Timeout=300 update -q >&2 || skip "$package" "apt-get update failed; its words are above"
        apt_install "$package" || skip "$package" "apt-get install failed; its words are above"
    fi
    ! command -v systemctl >/dev/null || systemctl disable "$service" >/dev/null 2>&1 || true
}

apt_install() { apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "$1" >&2; }

skip() { echo "skipped: no $1, because $2."; exit $SKIPPED; }

main "$@"
