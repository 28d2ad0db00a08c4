#!/usr/bin/env bash
# Runs every drill on every RabbitMQ version that can be had: this machine's, and, as root, 4.0 and 4.3.
# Arguments go to `dormouse-lab drill`: scripts/drill.sh --only 2,7 --seed 5 --duration 30s
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/brokers.sh

cargo build --quiet --workspace --bin dormouse --bin dormouse-lab
exec target/debug/dormouse-lab drill "${roots[@]/#/--broker=}" "$@"
