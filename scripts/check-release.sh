#!/usr/bin/env bash
# Tries what scripts/release.sh made, in dist/ or the folder that is named: the sums, that the program is static and names no
# path of this machine, the .deb with lintian, the image by unpacking it and running a worker in its root by chroot, the
# chart with helm, the list of crates with CycloneDX's own library. On a private broker, as root:
#
#   target/debug/dormouse-lab dev --no-worker --directory .dormouse/release -- scripts/check-release.sh [DIR]
#
# What the machine lacks (umoci, lintian) it says, and the exit code is 3 then; 1 if something is not as it should be.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
dist=$(realpath "${1:-dist}")
readonly HTTP=127.0.0.1:15797
skipped=0

main() {
    work=$(mktemp -d)
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    (cd "$dist" && sha256sum --quiet --check SHA256SUMS) || fail "SHA256SUMS is wrong"
    seen "$(wc -l <"$dist/SHA256SUMS") files are what SHA256SUMS says"
    the_program
    the_deb
    the_image
    the_chart
    the_crates
    [[ $skipped == 0 ]] || exit 3
}

one() { compgen -G "$dist/$1" | head -n 1; }

the_program() {
    local program
    tar -xzf "$(one 'dormouse-*-linux.tar.gz')" -C "$work"
    program=$(compgen -G "$work/dormouse-*/bin/dormouse")
    ! readelf --program-headers "$program" | grep -q 'INTERP' || fail "the program asks for a loader: it is not static"
    ! grep -aqF -e "$PWD" -e "${CARGO_HOME:-$HOME/.cargo}" "$program" || fail "the program names paths of this machine"
    seen "$("$program" --version), static, $(($(stat -c %s "$program") / 1048576)) MiB, names no path of this machine"
    for page in dormouse dormouse-schedule-apply; do
        man --warnings -E UTF-8 -l -Tutf8 -Z "$(dirname "$program")/../share/man/man1/$page.1" 2>"$work/man" >/dev/null || true
        [[ ! -s $work/man ]] || fail "$page.1: $(<"$work/man")"
    done
    seen "$(compgen -G "$work/dormouse-*/share/man/man1/*.1" | wc -l) man pages, of which man reads two without a warning"
}

the_deb() {
    has lintian lintian || return 0
    lintian --allow-root --fail-on error --suppress-tags initial-upload-closes-no-bugs "$(one '*.deb')" >"$work/lintian" 2>&1 || { cat "$work/lintian"; fail "lintian"; }
    seen "lintian finds no error, and $(grep -c '^W' "$work/lintian" || true) warnings in the .deb"
    grep '^W' "$work/lintian" || true
    has systemd-analyze systemd || return 0
    dpkg-deb --extract "$(one '*.deb')" "$work/root"
    # the program is not where it would be installed
    sed "s#=/usr/bin/dormouse#=$work/root/usr/bin/dormouse#" "$work/root/usr/lib/systemd/system/dormouse.service" >"$work/dormouse.service"
    systemd-analyze verify --man=no "$work/dormouse.service" >"$work/unit" 2>&1 || { cat "$work/unit"; fail "systemd-analyze verify"; }
    seen "systemd-analyze verifies the unit, and finds: $(systemd-analyze security --offline=true "$work/dormouse.service" |
        sed -n 's/.*Overall exposure level for dormouse.service: \([0-9.]* [A-Z]*\).*/exposure \1/p')"
}

# What is in the image is all that there is for it.
the_image() {
    has umoci umoci || return 0
    [[ $(id -u) == 0 ]] || { skipped=1; echo "skipped: the image's root needs root to be run in"; return; }
    [[ -n ${DORMOUSE_URI:-} ]] || fail "DORMOUSE_URI is not set: run it by dormouse-lab dev"
    local name root code=0
    mkdir "$work/oci"
    tar -xf "$(one 'dormouse-*-oci.tar')" -C "$work/oci"
    name=$(jq -r '.manifests[0].annotations["org.opencontainers.image.ref.name"]' "$work/oci/index.json")
    umoci unpack --image "$work/oci:$name" "$work/bundle" >/dev/null
    root=$work/bundle/rootfs
    local user
    user=$(jq -r '.process.user | "\(.uid):\(.gid)"' "$work/bundle/config.json")
    [[ $user == 10001:10001 ]] || fail "it runs as $user"
    chmod 755 "$work" "$work/bundle" # for a user who is not root
    # a name, so that it has to be looked up
    echo '127.0.0.1 rabbitmq' >"$root/etc/hosts"
    mapfile -t environment < <(jq -r '.process.env[]' "$work/bundle/config.json")
    mapfile -t arguments < <(jq -r '.process.args[]' "$work/bundle/config.json")
    env -i "${environment[@]}" DORMOUSE_HTTP_LISTEN=$HTTP DORMOUSE_URI="${DORMOUSE_URI/127.0.0.1/rabbitmq}" \
        DORMOUSE_SERVICE_ROLES=worker,index,api DORMOUSE_API_LISTEN=127.0.0.1:15798 DORMOUSE_LEDGER_ENABLED=true \
        DORMOUSE_INDEX_FILE=/var/lib/dormouse/index.sqlite \
        /usr/sbin/chroot --userspec="$user" "$root" "${arguments[@]}" >"$work/worker.log" 2>&1 &
    worker=$!
    within 60 curl --silent --fail --output "$work/ready" http://$HTTP/readyz || { cat "$work/worker.log"; fail "the image's worker is not ready"; }
    # the exchange is there, and a message goes the whole way into the DLQ, as its target is not
    env -i DORMOUSE_URI="${DORMOUSE_URI/127.0.0.1/rabbitmq}" /usr/sbin/chroot --userspec="$user" "$root" /usr/bin/dormouse publish --to nowhere \
        --delay 1s --header "x-dormouse-check=1" x >/dev/null
    within 60 is_counted 'dormouse_scheduled_total' || fail "the image's worker schedules nothing"
    kill -TERM "$worker"
    wait "$worker" || code=$?
    worker=
    [[ $code == 0 ]] || { cat "$work/worker.log"; fail "the image's worker ended with $code"; }
    [[ -s $root/var/lib/dormouse/index.sqlite ]] || fail "the index was not written"
    seen "the image's root, $(find "$root" -type f | wc -l) files, unpacked by umoci: as its user it ran a worker, an index and an API by chroot, and stopped"
}

is_counted() { curl --silent http://$HTTP/metrics | awk -v name="$1" 'index($1, name) == 1 { sum += $2 } END { exit !(sum > 0) }'; }

the_chart() {
    local code=0 folder
    folder=$(scripts/get-clients.sh packaging) || code=$?
    [[ $code == 0 ]] || { skipped=1; echo "$folder"; return; }
    folder=$(tail -n 1 <<<"$folder")
    "$folder/helm/helm" lint --strict --set broker.existingSecret=rabbitmq "$(one 'dormouse-[0-9]*.tgz')" >"$work/helm" || { cat "$work/helm"; fail "helm lint"; }
    seen "$("$folder/helm/helm" version --short) lints the chart as it was packed"
}

the_crates() {
    local folder=${DORMOUSE_CLIENTS:-.dormouse/clients}/packaging
    [[ -x $folder/venv/bin/python ]] || return 0
    "$folder/venv/bin/python" - "$(one 'dormouse-*.cdx.json')" <<'PYTHON' || fail "the list of crates is no CycloneDX"
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = open(sys.argv[1]).read()
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
if error:
    sys.exit(str(error))
parts = json.loads(text)["components"]
without = [part["name"] for part in parts if not part["licenses"]]
if without:
    sys.exit(f"without a license: {without}")
PYTHON
    seen "CycloneDX's library finds the list valid: $(jq '.components | length' "$(one 'dormouse-*.cdx.json')") crates, each with its license"
}

has() {
    command -v "$1" >/dev/null || { skipped=1; echo "skipped: it needs $1, Debian's package $2"; return 1; }
}

within() {
    local until=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        ((SECONDS < until)) || return 1
        sleep 0.2
    done
}

clean_up() {
    [[ -z ${worker:-} ]] || kill "$worker" 2>/dev/null || true
    rm -rf "$work"
}
seen() { echo "✓ $*"; }
fail() { echo "check-release: $*" >&2; exit 1; }

main "$@"
