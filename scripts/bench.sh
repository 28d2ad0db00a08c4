#!/usr/bin/env bash
# The comparison with other ways to delay a message, on private brokers, into bench/: `make bench`.
#
#   ONLY=max,steady,burst,backlog,memory,profile   parts; all by default
#   BROKERS=3.10,4.0,4.3                           versions; all that this machine can hold by default
#   ARGS='--rounds 3 --into bench/mine'            whatever `dormouse-lab compare --help` tells
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CELERY=.dormouse/celery # a Python environment with Celery's own package
readonly SKIPPED=3

main() {
    cargo build --release --workspace --bin dormouse --bin dormouse-lab
    celery
    local roots="" version code
    for version in $(tr , ' ' <<<"${BROKERS:-3.10,4.0,4.3}"); do
        code=0
        scripts/get-rabbitmq.sh "$version" || code=$?
        case $code in
        0) roots+=,$(root_of "$version") ;;
        "$SKIPPED") ;;
        *) exit "$code" ;;
        esac
    done
    [[ -n $roots ]] || { echo "bench: no broker to measure" >&2; exit 1; }
    # shellcheck disable=SC2086 # words, as given
    target/release/dormouse-lab compare --brokers "${roots#,}" ${ONLY:+--only "$ONLY"} ${ARGS:-}
}

root_of() {
    if [[ $1 == 3.10 ]]; then echo /; else realpath "${DORMOUSE_BROKERS:-.dormouse/brokers}/$1"; fi
}

# Without Python, or without a way to its packages, the comparison goes without Celery.
celery() {
    [[ ! -e $CELERY/installed ]] || return 0
    if python3 -m venv "$CELERY" && "$CELERY/bin/pip" install --quiet kombu; then
        touch "$CELERY/installed"
    else
        echo "bench: kombu cannot be installed, so Celery is left out" >&2
    fi
}

main
