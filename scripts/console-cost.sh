#!/usr/bin/env bash
# What the console costs, on a private broker: how long each page takes and how large it is, and the CPU time of RabbitMQ and
# of the service without a viewer and with ten.
#
#   scripts/console-cost.sh [MESSAGES]    that sleep, default 1000000
set -euo pipefail
cd "$(dirname "$(dirname "$(realpath "$0")")")"
readonly directory=.dormouse/console-cost

main() {
    cargo build --quiet --workspace --all-features --bins
    rm -rf "$directory"
    MESSAGES=${1:-1000000} target/debug/dormouse-lab dev --no-worker --directory "$directory" -- "$PWD/scripts/console-cost.sh" inside
    rm -rf "$directory"
}

# on the broker that was started
inside() {
    local port url seed cookie=$directory/cookie viewers=() at
    port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
    url=http://127.0.0.1:$port
    DORMOUSE_SERVICE_ROLES=worker,index,api,console DORMOUSE_API_LISTEN="127.0.0.1:$port" DORMOUSE_HTTP_LISTEN="" \
        DORMOUSE_COMMANDS_ENABLED=true DORMOUSE_LEDGER_ENABLED=true DORMOUSE_INDEX_FILE=$directory/index.sqlite \
        target/debug/dormouse run 2>"$directory/dormouse.log" &
    dormouse=$!
    trap 'kill "$dormouse"; wait "$dormouse" || true' EXIT
    until curl -sf -u guest:guest "$url/v1/workers" | grep -q '"registrar":{'; do sleep 1; done
    seed=$(URL=$url node -p 'JSON.stringify({url:process.env.URL,management:process.env.DORMOUSE_MANAGEMENT_URI.replace("guest:guest@",""),vhost:"/",user:"guest",password:"guest",messages:Number(process.env.MESSAGES)})')
    SEED=$seed node tests/console/seed.mjs
    sleep 20
    curl -s -o /dev/null -c "$cookie" -H 'sec-fetch-site: same-origin' -d 'user=guest&password=guest' "$url/login"
    broker=$(pgrep -f "beam.smp.*$directory" | head -n 1)
    measure "no viewer"
    for at in $(seq 10); do
        curl -sN -b "$cookie" "$url/live/sky" >"$directory/viewer-$at" &
        viewers+=($!)
    done
    measure "ten viewers of the sky"
    kill "${viewers[@]}"
    echo "a viewer is sent $(($(wc -c <"$directory/viewer-1") / $(grep -c '^event: shown' "$directory/viewer-1"))) bytes every two seconds"
    for path in / /cascade /list '/message?of=order-17' /dlq /retries /lateness /topology /workers; do
        for at in 1 2 3 4 5; do curl -s -o /dev/null -b "$cookie" -w '%{time_total} %{size_download}\n' "$url$path"; done |
            sort -n | awk -v path="$path" '{ took[NR] = $1; bytes = $2 } END { printf "%-21s %4.0f ms, %6d bytes\n", path, took[3] * 1000, bytes }'
    done
}

# measure WHAT: CPU time of the broker and the service over 20 s.
measure() {
    local begun=("$(used "$broker")" "$(used "$dormouse")")
    sleep 20
    echo "$1: RabbitMQ $((($(used "$broker") - begun[0]) / 20))% of a core, the service $((($(used "$dormouse") - begun[1]) / 20))%"
}

# used PID: CPU time in ticks of 10 ms.
used() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

if [ "${1:-}" = inside ]; then inside; else main "$@"; fi
