#!/usr/bin/env bash
# What the topology costs an idle broker: memory, file descriptors, Erlang processes and CPU, before its
# declare, after it, and with a worker that has nothing to do. Takes five minutes, on a private broker:
#
#   target/debug/dormouse-lab dev --no-worker --directory .dormouse/cost -- scripts/idle-cost.sh
set -euo pipefail

readonly DORMOUSE=${DORMOUSE:-target/debug/dormouse}
readonly SETTLE_SECONDS=20 SAMPLE_SECONDS=60

main() {
    until broker=$(of_node os_pid); [[ -n $broker ]]; do sleep 1; done
    sleep $SETTLE_SECONDS
    sample "nothing declared"
    "$DORMOUSE" topology apply >/dev/null
    sleep $SETTLE_SECONDS
    sample "topology declared"
    "$DORMOUSE" run --set http.listen= 2>/dev/null &
    worker=$!
    trap 'kill $worker' EXIT
    sleep $SETTLE_SECONDS
    sample "and a worker, idle"
    printf '%-20s RSS %d MiB, CPU %s %% of a core since its start\n' "the worker" "$(rss_mib "$worker")" \
        "$(ps -o %cpu= -p "$worker" | tr -d ' ')"
}

sample() {
    local before processes
    before=$(cpu_ticks)
    sleep $SAMPLE_SECONDS
    processes=$(of_node proc_used)
    printf '%-20s RSS %d MiB, %d file descriptors, %d Erlang processes, CPU %s %% of a core\n' "$1" \
        "$(rss_mib "$broker")" "$(find "/proc/$broker/fd" -mindepth 1 2>/dev/null | wc -l)" "$processes" \
        "$(awk -v ticks=$(($(cpu_ticks) - before)) -v hz="$(getconf CLK_TCK)" -v seconds=$SAMPLE_SECONDS \
            'BEGIN { printf "%.1f", 100 * ticks / hz / seconds }')"
}

# A number of the node's as the management API tells it; nothing before its first statistics.
of_node() {
    curl --silent --fail "$DORMOUSE_MANAGEMENT_URI/api/nodes" | grep -o "\"$1\":\"\?[0-9]*" | head -n 1 | grep -o '[0-9]*$' || true
}

cpu_ticks() { sed 's/.*) //' "/proc/$broker/stat" | awk '{ print $12 + $13 }'; }
rss_mib() { awk '/^VmRSS/ { printf "%d", $2 / 1024 }' "/proc/$1/status"; }

main
