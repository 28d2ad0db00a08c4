#!/usr/bin/env bash
# What the console costs, on a private broker with messages asleep: how long each page takes and how large it is, the
# management calls a second with and without viewers, and how many messages a second the worker delivers with and without
# twenty viewers, in turns.
#
#   scripts/console-cost.sh [MESSAGES] [ROUNDS]    that sleep, default 1000000; default 5, and 0 leaves out the turns
#   OTHERS=10000 scripts/console-cost.sh           beside so many queues of others in the same virtual host
#   PROFILE=release scripts/console-cost.sh        as the figures of docs/console.md
#
# Needs Node.js and curl.
set -euo pipefail
cd "$(dirname "$(dirname "$(realpath "$0")")")"
readonly directory=.dormouse/console-cost viewers=20 batch=20000

main() {
    PROFILE=${PROFILE:-debug}
    local profile=()
    [ "$PROFILE" = debug ] || profile=(--profile "$PROFILE")
    cargo build --quiet --workspace --all-features --bins "${profile[@]}"
    rm -rf "$directory"
    export PROFILE
    MESSAGES=${1:-1000000} ROUNDS=${2:-5} "target/$PROFILE/dormouse-lab" dev --no-worker --directory "$directory" -- \
        "$PWD/scripts/console-cost.sh" inside
    rm -rf "$directory"
}

# on the broker that was started
inside() {
    local seed
    started=() watching=()
    trap stop EXIT
    count
    port=$(free_port) metrics=$(free_port)
    url=http://127.0.0.1:$port
    serve
    seed=$(URL=$url node -p 'JSON.stringify({url:process.env.URL,management:process.env.DORMOUSE_MANAGEMENT_URI.replace("guest:guest@",""),vhost:"/",user:"guest",password:"guest",messages:Number(process.env.MESSAGES)})')
    SEED=$seed node tests/console/seed.mjs
    if [ -n "${OTHERS:-}" ]; then others "$OTHERS"; fi
    sleep 20
    curl -s -o /dev/null -c "$cookie" -H 'sec-fetch-site: same-origin' -d 'user=guest&password=guest' "$url/login"
    broker=$(curl -s "$DORMOUSE_MANAGEMENT_URI/api/nodes?columns=os_pid" | grep -o '[0-9]*')
    measure "no viewer"
    watch 1
    measure "one viewer of the sky"
    leave
    watch "$viewers"
    measure "$viewers viewers of the sky"
    echo "a viewer is sent $(($(wc -c <"$directory/viewer-1") / $(grep -c '^event: shown' "$directory/viewer-1"))) bytes every two seconds"
    leave
    for path in / /cascade /list '/message?of=order-17' /schedules /dlq /retries /lateness /topology /workers /endpoints /doctor \
        /help /v1/levels /v1/workers; do
        page "$path"
    done
    if [ "$ROUNDS" -gt 0 ]; then in_turns; fi
}

# page PATH: asked for six times. The first may have to ask RabbitMQ, of the others the middle one is told; and what RabbitMQ
# did, and told over its management API, for all of them.
page() {
    local took=() bytes before after each
    before=("$(used "$broker")" $(counted))
    for each in 1 2 3 4 5 6; do
        read -r each bytes < <(curl -s -o /dev/null -b "$cookie" -u guest:guest -w '%{time_total} %{size_download}\n' "$url$1")
        took+=("$each")
    done
    after=("$(used "$broker")" $(counted))
    awk -v path="$1" -v first="${took[0]}" -v then="$(median "${took[@]:1}")" -v bytes="$bytes" \
        -v cpu="$(((after[0] - before[0]) * 10))" -v told="$((after[2] - before[2]))" 'BEGIN {
            printf "%-21s first %4.0f ms, then %4.0f ms, %6d bytes; RabbitMQ %4d ms of CPU, %8d bytes told\n", path, first * 1000, then * 1000, bytes, cpu, told }'
}

# others NUMBER: so many queues that are not ours, until the management API lists them.
others() {
    local queues
    queues=$(seq -f '{"name":"other-%05.0f","durable":false,"auto_delete":false,"arguments":{}}' -s , "$1")
    curl -sf -X POST -H 'content-type: application/json' -d @- "$DORMOUSE_MANAGEMENT_URI/api/definitions/%2F" <<<"{\"queues\":[$queues]}"
    until [ "$(curl -s "$DORMOUSE_MANAGEMENT_URI/api/queues/%2F?page=1&page_size=1&columns=name" | grep -o '"total_count":[0-9]*' | grep -o '[0-9]*')" -gt "$1" ]; do sleep 1; done
}

# Requests to the management API, and bytes of its answers.
counted() { curl -s "http://127.0.0.1:$counting/count"; }

readonly cookie=$directory/cookie

# All roles, over the counting way to the management API.
serve() {
    env DORMOUSE_SERVICE_ROLES=worker,index,api,console DORMOUSE_API_LISTEN="127.0.0.1:$port" \
        DORMOUSE_HTTP_LISTEN="127.0.0.1:$metrics" DORMOUSE_MANAGEMENT_URI="http://guest:guest@127.0.0.1:$counting" \
        DORMOUSE_COMMANDS_ENABLED=true DORMOUSE_LEDGER_ENABLED=true DORMOUSE_INDEX_FILE=$directory/index.sqlite \
        "target/$PROFILE/dormouse" run 2>"$directory/dormouse.log" &
    dormouse=$!
    started+=("$dormouse")
    until curl -sf -u guest:guest "$url/v1/workers" | grep -q '"registrar":{'; do sleep 1; done
}

# Counts what passes to the management API.
count() {
    mkdir -p "$directory"
    TO=$DORMOUSE_MANAGEMENT_URI node tests/console/counting.mjs >"$directory/counting" &
    started+=($!)
    until [ -s "$directory/counting" ]; do sleep 0.1; done
    counting=$(cat "$directory/counting")
}

free_port() {
    node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'
}

# watch NUMBER: so many look at the sky until they leave.
watch() {
    watching=()
    for at in $(seq "$1"); do
        curl -sN -b "$cookie" "$url/live/sky" >"$directory/viewer-$at" &
        watching+=($!)
    done
}

leave() {
    kill "${watching[@]}"
    wait "${watching[@]}" 2>/dev/null || true
}

# measure WHAT: CPU time of the broker and the service, and management calls, over 20 s.
measure() {
    local begun ended
    begun=("$(used "$broker")" "$(used "$dormouse")" $(counted))
    sleep 20
    ended=("$(used "$broker")" "$(used "$dormouse")" $(counted))
    echo "$1: RabbitMQ $(((ended[0] - begun[0]) / 20))% of a core, the service $(((ended[1] - begun[1]) / 20))%," \
        "$(awk -v of=$((ended[2] - begun[2])) 'BEGIN { printf "%.1f", of / 20 }') management calls a second," \
        "$(((ended[3] - begun[3]) / 20)) bytes a second of answers"
}

# used PID: CPU time in ticks of 10 ms.
used() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# A batch without viewers and one with them, in turns; the medians, and their ratio.
in_turns() {
    local round alone=() watched=()
    curl -s -o /dev/null -u guest:guest -X PUT -H 'content-type: application/json' -d '{"durable":true}' \
        "$DORMOUSE_MANAGEMENT_URI/api/queues/%2F/cost"
    rate >/dev/null
    for round in $(seq "$ROUNDS"); do
        alone+=("$(rate)")
        watch "$viewers"
        sleep 3
        watched+=("$(rate)")
        leave
    done
    local without with
    without=$(median "${alone[@]}") with=$(median "${watched[@]}")
    echo "delivered a second, without viewers: ${alone[*]}, median $without"
    echo "delivered a second, with $viewers viewers: ${watched[*]}, median $with"
    awk -v with="$with" -v without="$without" 'BEGIN { printf "ratio of the medians: %.3f\n", with / without }'
}

# Messages a second from the first publish of a batch to the last delivery.
rate() {
    local before begun
    before=$(delivered)
    begun=$(date +%s%N)
    "target/$PROFILE/dormouse" publish --to cost -n "$batch" x >/dev/null
    until [ "$(delivered)" -ge $((before + batch)) ]; do sleep 0.02; done
    echo $((batch * 1000000000 / ($(date +%s%N) - begun)))
}

# So many so far.
delivered() {
    curl -s "http://127.0.0.1:$metrics/metrics" | awk '$1 == "dormouse_delivered_total" { print int($2); found = 1 } END { if (!found) print 0 }'
}

median() { printf '%s\n' "$@" | sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

stop() {
    trap - EXIT
    kill "${started[@]}" "${watching[@]}" 2>/dev/null || true
    wait || true
}

if [ "${1:-}" = inside ]; then inside; else main "$@"; fi
