#!/usr/bin/env bash
# Runs every test. A broker is started for those that need one, and ended with them.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --all-targets
cargo test --doc --quiet

if cargo nextest --version >/dev/null 2>&1; then
  runner=(cargo nextest run --no-fail-fast "$@")
else
  runner=(cargo test --tests --no-fail-fast "$@")
fi
target/debug/dormouse dev --no-worker --directory .dormouse/test -- "${runner[@]}"
