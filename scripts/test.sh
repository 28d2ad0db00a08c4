#!/usr/bin/env bash
# Runs every test. Those on a real broker run on one that is started for them and ends with them: all of
# them on the RabbitMQ of this machine, and those that speak of messages once more on 4.0 and 4.3. (Not doctor::,
# which reads files of the broker's: one in a folder of its own names them as they are called there.)
# Arguments go to the test runner: scripts/test.sh hold::
set -euo pipefail
cd "$(dirname "$0")/.."

# what RabbitMQ does with a message, and we with what it answers: on every version
about_messages=(
  amqp10:: authority:: channels:: client:: client_commands:: client_faults:: client_kills:: client_refused:: client_retry:: client_stops::
  commands:: commands_stand:: conformance:: control:: delivery:: doors:: extremes:: hold:: hostile:: hostile_targets::
  leader:: ledger:: ledger_faults:: lost_log:: mqtt:: privileges:: refused:: retry:: retry_enable:: retry_routes::
  run_now:: schedules:: settings:: tls:: unreadable::
)
# doors and library above that, which see a version by its message path only: on the oldest and the newest
above_messages=(
  all_roles:: api:: api_endpoints:: api_who:: client_batches:: client_examples:: client_flow::
  client_schedule:: client_trace:: clients:: console:: console_acts:: console_browser::what_is_done console_calls::
  console_down:: index:: index_workers:: shards:: webhook_clients:: webhooks::
)
if cargo nextest --version >/dev/null 2>&1; then
  run=(cargo nextest run --workspace --all-features --no-fail-fast)
  only=(--test broker)
else
  run=(cargo test --workspace --all-features --tests --no-fail-fast)
  only=(--test broker --)
fi
# the same rules are a test, which needs no further program
if cargo deny --version >/dev/null 2>&1; then
  make --no-print-directory deny
fi

with_broker() {
  local directory=$1; shift
  target/debug/dormouse-lab dev --no-worker --directory "$directory" "$@"
}

# as a reviewer would: the form, and what clippy.toml and the workspace's lints say
cargo fmt --all --check
cargo clippy --quiet --workspace --all-features --all-targets -- -D warnings

# what is optional: the library without it, then everything with all of it
cargo check --quiet --package dormouse-client
cargo check --quiet --package dormouse --no-default-features
cargo build --workspace --all-features --all-targets
cargo test --workspace --all-features --doc --quiet

# the stores of idempotent handling; where they cannot be had, their tests say that they are skipped
code=0
scripts/get-stores.sh || code=$?
case $code in
0) ;;
3) export DORMOUSE_TEST_NO_STORES=1 ;;
*) exit "$code" ;;
esac

if [ $# -eq 0 ]; then
  # clients in other languages; what this machine cannot have is skipped, and said to be
  for language in python celery node php go java c browser prometheus amqp10 webhooks_python webhooks_node cron schemathesis packaging; do
    code=0
    said=$(scripts/get-clients.sh "$language") || code=$?
    case "$code" in
    0) ;;
    3) echo "— the client $language: $said" ;;
    *) echo "$said"; exit "$code" ;;
    esac
  done
  # further versions live in folders of their own; without root they are skipped, and said to be
  for version in 4.0 4.3; do
    code=0
    scripts/get-rabbitmq.sh "$version" || code=$?
    if [ "$code" -eq 0 ]; then
      root=${DORMOUSE_BROKERS:-.dormouse/brokers}/$version
      messages=("${about_messages[@]}")
      [ "$version" = 4.0 ] || messages+=("${above_messages[@]}")
      echo "— the tests about messages, on RabbitMQ $version"
      DORMOUSE_TEST_BROKER=$root with_broker ".dormouse/test-$version" --broker "$root" -- "${run[@]}" "${only[@]}" "${messages[@]}"
    elif [ "$code" -eq 3 ]; then
      echo "— RabbitMQ $version: skipped"
    else
      exit "$code"
    fi
  done
fi
echo "— every test, on the RabbitMQ of this machine"
with_broker .dormouse/test -- "${run[@]}" "$@"
