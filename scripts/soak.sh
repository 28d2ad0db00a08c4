#!/usr/bin/env bash
# Runs every drill on every RabbitMQ version that can be had, again and again with new seeds, for an hour.
# SECONDS_LONG=600 makes it shorter; arguments go to `dormouse-lab drill`: scripts/soak.sh --only 4 --rate 50
# A run that failed is printed with the command that repeats it, and its files are kept. Ends with a table
# in Markdown of how many runs passed, and with 3 if one failed.
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/brokers.sh

readonly long=${SECONDS_LONG:-3600} kept=.dormouse/soak
only=() rest=(--duration 12s --rate 100)
while [[ $# -gt 0 ]]; do
  case $1 in
    --only) only=(--only "$2"); shift 2 ;;
    *) rest+=("$1"); shift ;;
  esac
done
cargo build --quiet --workspace --bin dormouse --bin dormouse-lab || exit 1
list=$(target/debug/dormouse-lab drill --list "${only[@]}") || exit
declare -A title runs passed
drills=()
while read -r drill words; do
  drills+=("$drill") title[$drill]=$words
done <<<"$list"
failed=0 end=$((SECONDS + long))

table() {
  echo; printf '| Drill |'; printf ' %s |' "${versions[@]}"; echo
  printf '|---|'; printf '%s' "${versions[@]/*/---|}"; echo
  for drill in "${drills[@]}"; do
    printf '| %s %s |' "$drill" "${title[$drill]}"
    for version in "${versions[@]}"; do
      printf ' %d of %d |' "${passed[$drill $version]:-0}" "${runs[$drill $version]:-0}"
    done
    echo
  done
}
trap 'table; exit 130' INT TERM

while ((SECONDS < end)); do
  seed=$((RANDOM << 15 | RANDOM))
  for drill in "${drills[@]}"; do
    for index in "${!versions[@]}"; do
      ((SECONDS < end)) || break 3
      version=${versions[$index]} dir=$kept/$seed-$drill-${versions[$index]}
      command=(target/debug/dormouse-lab drill --broker "${roots[$index]}" --only "$drill" --seed "$seed" "${rest[@]}")
      mkdir -p "$kept"
      runs[$drill $version]=$((${runs[$drill $version]:-0} + 1))
      if nice "${command[@]}" --directory "$dir" >"$dir.log" 2>&1; then
        passed[$drill $version]=$((${passed[$drill $version]:-0} + 1))
        rm -rf "$dir" "$dir.log"
      else
        failed=1
        echo "FAILED, see $dir.log: ${command[*]}"
      fi
    done
  done
done
table
((failed == 0)) || exit 3
