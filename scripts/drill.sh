#!/usr/bin/env bash
# Holds every drill on every RabbitMQ version that can be had: this machine's, and, as root, 4.0 and 4.3.
# Arguments go to `dormouse drill`: scripts/drill.sh --only 2,7 --seed 5 --duration 30s
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet --bin dormouse
brokers=()
[[ -e /usr/lib/rabbitmq/bin/rabbitmq-server ]] && brokers+=(--broker /)
for version in 4.0 4.3; do
  code=0
  scripts/get-rabbitmq.sh "$version" || code=$?
  if [ "$code" -eq 0 ]; then
    brokers+=(--broker "${DORMOUSE_BROKERS:-.dormouse/brokers}/$version")
  elif [ "$code" -ne 3 ]; then
    exit "$code"
  fi
done
exec target/debug/dormouse drill "${brokers[@]}" "$@"
