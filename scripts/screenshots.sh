#!/usr/bin/env bash
# Makes the pictures of the console in docs/console/, over a load that is the same each time, on a private broker.
#
#   scripts/screenshots.sh                        the pictures of the guide
#   scripts/screenshots.sh --all FOLDER [MESSAGES]    every page, to look at
#
# Needs what `scripts/get-clients.sh browser` gets. Exit codes: 0 they are there, 3 skipped.
set -euo pipefail
cd "$(dirname "$(dirname "$(realpath "$0")")")"
readonly directory=.dormouse/screenshots
readonly main='["/","/cascade","/message?of=order-17","/dlq"]'
readonly all='["/login","/","/cascade","/list","/message?of=order-17","/dlq","/retries","/lateness","/topology","/workers","/endpoints","/help"]'

main() {
    local folder=docs/console code=0 said
    PAGES=$main MESSAGES=84310
    if [ "${1:-}" = --all ]; then
        folder=${2:?a folder} PAGES=$all MESSAGES=${3:-84310}
    fi
    said=$(scripts/get-clients.sh browser) || code=$?
    [ "$code" = 0 ] || { echo "$said"; exit "$code"; }
    CLIENTS=$(tail -n 1 <<<"$said")
    cargo build --quiet --workspace --all-features --bins
    rm -rf "$directory"
    mkdir -p "$folder"
    SHOTS=$(realpath "$folder")
    export PAGES MESSAGES CLIENTS SHOTS
    target/debug/dormouse-lab dev --no-worker --directory "$directory" -- "$PWD/scripts/screenshots.sh" inside
    rm -rf "$directory"
}

# on the broker that was started
inside() {
    local port url seed
    port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
    url=http://127.0.0.1:$port
    seed=$(URL=$url node -p 'JSON.stringify({url:process.env.URL,management:process.env.DORMOUSE_MANAGEMENT_URI.replace("guest:guest@",""),vhost:"/",user:"guest",password:"guest",messages:Number(process.env.MESSAGES)})')
    # what fails is dead at once, then as it usually is
    serve "$port" DORMOUSE_ATTEMPTS_MAX=1
    SEED=$seed node tests/console/seed.mjs dead
    stop
    serve "$port"
    SEED=$seed node tests/console/seed.mjs
    # until the index has all, and RabbitMQ has counted
    sleep 12
    (cd "$CLIENTS" && CONSOLE="{\"url\":\"$url\",\"user\":\"guest\",\"password\":\"guest\",\"pages\":$PAGES,\"shots\":\"$SHOTS\",\"wait\":2500}" node "$OLDPWD/tests/console/browser.mjs")
    stop
}

# serve PORT [VARIABLE=VALUE]: all roles, until its worker decides commands.
serve() {
    env DORMOUSE_SERVICE_ROLES=worker,index,api,console DORMOUSE_API_LISTEN="127.0.0.1:$1" DORMOUSE_HTTP_LISTEN="" \
        DORMOUSE_COMMANDS_ENABLED=true DORMOUSE_LEDGER_ENABLED=true DORMOUSE_INDEX_FILE=$directory/index.sqlite "${@:2}" \
        target/debug/dormouse run 2>>"$directory/dormouse.log" &
    dormouse=$!
    trap stop EXIT
    until curl -sf -u guest:guest "http://127.0.0.1:$1/v1/workers" | grep -q '"registrar":{'; do sleep 1; done
}

stop() {
    trap - EXIT
    kill "$dormouse"
    wait "$dormouse" || true
}

if [ "${1:-}" = inside ]; then inside; else main "$@"; fi
