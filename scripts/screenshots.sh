#!/usr/bin/env bash
# Makes the pictures of the console in docs/console/, over a load that is the same each time, on a private broker.
#
#   scripts/screenshots.sh                        the pictures of the guide
#   scripts/screenshots.sh --all FOLDER [MESSAGES]    every page, to look at: in FOLDER/full, and of a broker where nothing
#                                                 sleeps, that has faults, and that is down, in empty, faults and down
#
# Needs what `scripts/get-clients.sh browser` gets. Exit codes: 0 they are there, 3 skipped.
set -euo pipefail
cd "$(dirname "$(dirname "$(realpath "$0")")")"
readonly directory=.dormouse/screenshots
# Doctor names paths of this machine, so it is only in --all
readonly main='["/","/cascade","/message?of=order-17","/schedules","/dlq"]'
readonly all='["/login","/","/cascade","/list","/message?of=order-17","/schedules","/dlq","/retries","/lateness","/topology","/workers","/endpoints","/doctor","/help","/message?of=nobody","/elsewhere"]'

main() {
    local folder=docs/console code=0 said
    ALL="" MESSAGES=84310
    if [ "${1:-}" = --all ]; then
        ALL=yes folder=${2:?a folder} MESSAGES=${3:-84310}
    fi
    said=$(scripts/get-clients.sh browser) || code=$?
    [ "$code" = 0 ] || { echo "$said"; exit "$code"; }
    CLIENTS=$(tail -n 1 <<<"$said")
    cargo build --quiet --workspace --all-features --bins
    rm -rf "$directory"
    mkdir -p "$folder"
    SHOTS=$(realpath "$folder")
    export ALL MESSAGES CLIENTS SHOTS
    target/debug/dormouse-lab dev --no-worker --directory "$directory" -- "$PWD/scripts/screenshots.sh" inside
    rm -rf "$directory"
}

# on the broker that was started
inside() {
    local port url seed management=${DORMOUSE_MANAGEMENT_URI/guest:guest@/}
    port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
    url=http://127.0.0.1:$port
    seed=$(URL=$url MANAGEMENT=$management node -p 'JSON.stringify({url:process.env.URL,management:process.env.MANAGEMENT,vhost:"/",user:"guest",password:"guest",messages:Number(process.env.MESSAGES)})')
    endpoints >"$directory/endpoints.toml"
    # what fails is dead at once, then as it usually is
    serve "$port" DORMOUSE_ATTEMPTS_MAX=1
    [ -z "$ALL" ] || shoot empty "$all"
    SEED=$seed node tests/console/seed.mjs dead
    stop
    serve "$port"
    SEED=$seed node tests/console/seed.mjs
    until taken_in; do sleep 1; done
    # until the index has all, and RabbitMQ has counted
    sleep 12
    if [ -z "$ALL" ]; then
        shoot . "$main"
    else
        shoot full "$all"
        faults "$management"
        shoot faults '["/","/cascade","/topology","/workers","/doctor"]'
    fi
    stop
    [ -z "$ALL" ] || down "$port"
}

# Whether the worker has put all to sleep.
taken_in() {
    curl -sf -u guest:guest "$url/v1/levels" | node -e '
        let text = "";
        process.stdin.on("data", (part) => { text += part; }).on("end", () => {
            const intakes = JSON.parse(text).stages.filter((stage) => stage.stage === "intake");
            process.exit(intakes.every((stage) => stage.ready === 0) ? 0 : 1);
        });'
}

# shoot FOLDER PAGES [PID]: pictures of the pages; of what is there without PID, if there is one.
shoot() {
    (cd "$CLIENTS" && CONSOLE="{\"url\":\"$url\",\"user\":\"guest\",\"password\":\"guest\",\"pages\":$2,\"shots\":\"$SHOTS/$1\",\"wait\":2500,\"cut\":${3:-0}}" node "$OLDPWD/tests/console/browser.mjs")
}

# Endpoints to look at.
endpoints() {
    cat <<'EOT'
[[endpoint]]
name = "billing"
url = "https://billing.example.com/hooks"
secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]

[[endpoint]]
name = "crm-of-a-partner-with-a-long-name"
url = "https://eu-central-1.webhooks.partner.example.com:8443/v2/incoming/from/dormouse"
rate = 50
timeout = "5s"

[[endpoint]]
name = "retired"
url = "https://old.example.com/"
disabled = true
EOT
}

# faults MANAGEMENT: what an operator may have done to the topology.
faults() {
    local name=dormouse.parking
    curl -sf -u guest:guest -X DELETE "$1/api/queues/%2F/$name"
    curl -sf -u guest:guest -X PUT -H 'content-type: application/json' "$1/api/policies/%2F/everything" \
        -d '{"pattern":".*","definition":{"max-length":50000,"message-ttl":3600000},"priority":1}'
    # until RabbitMQ tells of it
    sleep 10
}

# down PORT: the way to the broker ends when everybody has logged in.
down() {
    local to=${DORMOUSE_URI#*@} way
    TO=${to%%/*} node tests/console/way.mjs >"$directory/way" &
    way=$!
    until [ -s "$directory/way" ]; do sleep 0.1; done
    serve "$1" DORMOUSE_URI="amqp://guest:guest@127.0.0.1:$(cat "$directory/way")/%2f"
    shoot down '["/","/dlq","/schedules","/workers","/topology","/doctor"]' "$way"
    stop
}

# serve PORT [VARIABLE=VALUE]: all roles, until its worker decides commands.
serve() {
    env DORMOUSE_SERVICE_ROLES=worker,index,api,console DORMOUSE_API_LISTEN="127.0.0.1:$1" DORMOUSE_HTTP_LISTEN="" \
        DORMOUSE_COMMANDS_ENABLED=true DORMOUSE_LEDGER_ENABLED=true DORMOUSE_INDEX_FILE=$directory/index.sqlite \
        DORMOUSE_WEBHOOKS_FILE=$directory/endpoints.toml "${@:2}" \
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
