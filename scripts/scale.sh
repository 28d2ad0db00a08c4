#!/usr/bin/env bash
# How far more workers, namespaces and nodes go on this machine: messages a second through all of it (a header; delays of
# 1 to 4,095 ms over levels of 15 ms, which is a thousandth of both), in turns, the median of the rounds. The table is that
# of docs/scale.md.
#
#   scripts/scale.sh                       3.10
#   BROKER=.dormouse/brokers/4.3 ROUNDS=5 SECONDS_LONG=20 CLUSTERS=1 scripts/scale.sh    one node only, not three too
#
# One line a trial: nodes, namespaces, workers (of all), messages a second (of all), CPU time of the brokers and of the
# workers in microseconds a message. A flood says nothing about lateness, which is that of what waits before intake.
set -euo pipefail
cd "$(dirname "$(dirname "$(realpath "$0")")")"
readonly lab=target/release/dormouse-lab directory=.dormouse/scale in_flight=12000

main() {
    cargo build --quiet --release --workspace --bin dormouse --bin dormouse-lab
    local broker=() round nodes trial
    [[ -z ${BROKER:-} ]] || broker=(--broker "$BROKER")
    trials=$(mktemp) said=$(mktemp)
    trap 'rm -rf "$trials" "$said" "$directory"' EXIT
    printf 'nodes\tnamespaces\tworkers\tper_second\tbroker_us\tworkers_us\n'
    for nodes in ${CLUSTERS:-1 3}; do
        for ((round = 0; round < ${ROUNDS:-3}; round++)); do
            for trial in 1:1 1:2 1:3 2:1 2:2; do
                rm -rf "$directory"
                NODES=$nodes NAMESPACES=${trial%:*} EACH=${trial#*:} \
                    "$lab" dev --no-worker --nodes "$nodes" --directory "$directory" "${broker[@]}" -- \
                    "$PWD/scripts/scale.sh" inside 2>"$said" | tee -a "$trials" || { cat "$said" >&2; exit 1; }
            done
        done
    done
    echo
    echo "medians:"
    python3 - "$trials" <<'PYTHON'
import collections, statistics, sys
rows = collections.OrderedDict()
for line in open(sys.argv[1]):
    *shape, per_second, broker, workers = line.split()
    rows.setdefault(tuple(shape), []).append([float(value) for value in (per_second, broker, workers)])
ones = {}
print("| nodes | namespaces | workers | messages a second | of one worker's | CPU of brokers, workers, µs a message |")
print("|---|---|---|---|---|---|")
for (nodes, namespaces, workers), trials in rows.items():
    per_second, broker, cpu = (statistics.median(column) for column in zip(*trials))
    one = ones.setdefault(nodes, per_second)
    print(f"| {nodes} | {namespaces} | {workers} | {per_second:,.0f} | {per_second / one:.2f} | {broker:.0f}, {cpu:.0f} |")
PYTHON
}

# On the brokers that were started.
inside() {
    local namespace worker port pids=() of results=()
    started=()
    trap stop EXIT
    export DORMOUSE_TOPOLOGY_UNIT=15ms DORMOUSE_LOG_FILTER=error
    for ((namespace = 0; namespace < NAMESPACES; namespace++)); do
        for ((worker = 0; worker < EACH; worker++)); do
            port=$(free_port)
            DORMOUSE_HTTP_LISTEN=127.0.0.1:$port DORMOUSE_TOPOLOGY_NAMESPACE=scale$namespace \
                target/release/dormouse run &
            started+=($!) pids[namespace]+=" --worker-pid $!"
            until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz"; do sleep 0.2; done
        done
    done
    for ((namespace = 0; namespace < NAMESPACES; namespace++)); do
        of=$directory/result-$namespace
        results+=("$of")
        # shellcheck disable=SC2086 # words
        DORMOUSE_TOPOLOGY_NAMESPACE=scale$namespace "$lab" bench max --in-place ${pids[namespace]} \
            --delay 1ms..4095ms --in-flight $((in_flight / NAMESPACES)) --duration "${SECONDS_LONG:-15}s" -o json >"$of" &
        waiting[namespace]=$!
    done
    for namespace in "${!waiting[@]}"; do wait "${waiting[namespace]}"; done
    python3 - "${results[@]}" <<'PYTHON'
import json, os, sys
found = [json.load(open(path))["report"] for path in sys.argv[1:]]
window = lambda report: report["windows"][-1]
rate = sum(window(report)["per_second"] for report in found)
# each counts the whole broker by its own messages, and its own workers
broker = 1 / sum(1 / window(report)["broker"]["cpu_us_per_message"] for report in found)
workers = sum(window(report)["workers"]["cpu_us_per_message"] for report in found) / len(found)
shape = (os.environ["NODES"], os.environ["NAMESPACES"], int(os.environ["NAMESPACES"]) * int(os.environ["EACH"]))
assert all(report["early"] == report["missing"] == report["duplicates"] == 0 for report in found), found
print(*shape, round(rate), round(broker), round(workers), sep="\t", flush=True)
PYTHON
}

stop() {
    local pid
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

waiting=()
if [[ ${1:-} == inside ]]; then inside; else main; fi
