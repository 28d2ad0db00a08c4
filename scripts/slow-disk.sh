#!/usr/bin/env bash
# What a slow disk does: a RabbitMQ whose every flush takes 50 ms longer, a steady load with and without keys, and the
# drills of cancelling. scripts/slow-disk.sh [VERSION] [MILLISECONDS]; wants root, a C compiler and `make release`.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-4.3} late_ms=${2:-50}
root=${DORMOUSE_BROKERS:-.dormouse/brokers}/$version
lab=target/release/dormouse-lab
slow=$(mktemp -d)
trap 'rm -rf "$slow"' EXIT

# a copy, since each of its programs will find flushes slow
cp -a "$root" "$slow/broker"
cc -shared -fPIC -o "$slow/broker/usr/lib/slow-flush.so" -x c - -ldl <<C
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int flush(const char *name, int file) {
    usleep($late_ms * 1000);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(file);
}
int fsync(int file) { return flush("fsync", file); }
int fdatasync(int file) { return flush("fdatasync", file); }
C
echo /usr/lib/slow-flush.so >"$slow/broker/etc/ld.so.preload"

steady=("$lab" bench steady --rate 200 --delay 1s..5s --set commands.enabled=true)
for path in header keyed; do
  "$lab" dev --no-worker --directory "$slow/dev" --broker "$slow/broker" -- "${steady[@]}" --path "$path" |
    grep -E '^(path|lateness|early|confirm)'
done
"$lab" drill --only 11,12 --seed 2026 --duration 20s --rate 100 --bound 10s --broker "$slow/broker" --directory "$slow/drill"
