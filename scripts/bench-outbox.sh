#!/usr/bin/env bash
# How many rows of an outbox are relayed a second: a private PostgreSQL and a private RabbitMQ, which end with it.
# Arguments go to the bench: scripts/bench-outbox.sh --rows 100000
# PostgreSQL writes to the disk as it would in production, under the folder of temporary files.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -rV | head -n 1)
[[ -x $bin ]] || { echo "bench-outbox: no PostgreSQL; scripts/get-stores.sh installs it" >&2; exit 1; }
bin=$(dirname "$bin")
folder=$(mktemp -d)
as_postgres=()
if [[ $(id -u) == 0 ]]; then
    chown postgres "$folder"
    as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups)
fi
end() {
    "${as_postgres[@]}" "$bin/pg_ctl" -D "$folder/data" -m fast -s stop || true
    rm -rf "$folder"
}
trap end EXIT
"${as_postgres[@]}" "$bin/initdb" --username postgres --auth trust --locale C --encoding UTF8 --pgdata "$folder/data" >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as_postgres[@]}" "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -s -w \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=" start
cargo build --release --package dormouse --package dormouse-lab --features dormouse-lab/outbox
export DORMOUSE_OUTBOX_URI="postgres://postgres@127.0.0.1:$port/postgres"
target/release/dormouse-lab dev --no-worker -- target/release/dormouse-lab bench outbox "$@"
