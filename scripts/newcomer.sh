#!/usr/bin/env bash
# A newcomer's first day, in a few minutes: on a clean Debian with RabbitMQ it installs the .deb, asks the doctor, schedules,
# cancels, breaks a target, sees the alert fire, sends the message again, upgrades while messages sleep, and purges.
#
#   scripts/newcomer.sh      or: make newcomer
#
# The Debian is the one of scripts/get-rabbitmq.sh 4.0, made by debootstrap, and seen through an overlay, so it stays clean. All
# runs in namespaces of its own for processes, mounts and the network: it reaches nothing of this machine's, and whatever
# way it ends, its processes and mounts end with it.
# Exit codes: 0 each step was as it should be, 1 one was not, 3 skipped (this machine cannot do it).
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
readonly DEBIAN=4.0 SLEEPERS=200 PASSWORD=newcomer
readonly API=http://127.0.0.1:15672/api PROMETHEUS=http://127.0.0.1:9090

main() {
    case ${1:-} in
    '') outside ;;
    --inside) work=$2 && inside ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" ;;
    *) fail "unknown argument $1; it takes none" ;;
    esac
}

# What has to be there first, some of it from elsewhere.
outside() {
    local debian clients code=0 version started=$SECONDS
    [[ $(id -u) == 0 ]] || skip "it needs root, for a Debian of its own"
    for tool in unshare ip curl jq; do
        command -v "$tool" >/dev/null || skip "it needs $tool"
    done
    scripts/get-rabbitmq.sh "$DEBIAN" || code=$?
    [[ $code == 0 ]] || exit "$code"
    debian=$(realpath "${DORMOUSE_BROKERS:-.dormouse/brokers}/$DEBIAN")
    clients=$(scripts/get-clients.sh prometheus) || code=$?
    [[ $code == 0 ]] || { echo "$clients"; exit "$code"; }
    mkdir -p .dormouse
    work=$(mktemp -d "$PWD/.dormouse/newcomer.XXXXXX")
    trap 'rm -rf --one-file-system "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    chmod 755 "$work"

    echo "Two versions of the package, of which the second differs by its number only:"
    version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    scripts/release.sh --into "$work/first" --deb "$version"
    scripts/release.sh --into "$work/second" --deb "$version+newer"
    echo "made after $((SECONDS - started)) s"

    ln -s "$debian" "$work/lower"
    ln -s "$(tail -n 1 <<<"$clients")/usr/bin/prometheus" "$work/prometheus"
    mkdir "$work/upper" "$work/overlay" "$work/debian"
    unshare --mount --pid --net --fork --kill-child --mount-proc "scripts/$(basename "$0")" --inside "$work"
}

# In namespaces of its own.
inside() {
    local lower
    debian=$work/debian lower=$(realpath "$work/lower") began=$SECONDS
    ip link set lo up
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/overlay" "$debian" ||
        { mount -t tmpfs tmpfs "$debian" && cp -a "$lower/." "$debian/"; }
    mount -t proc proc "$debian/proc"
    echo "127.0.0.1 localhost $(hostname)" >"$debian/etc/hosts"

    start_rabbitmq
    install_it
    ask_the_doctor
    schedule
    cancel
    break_a_target
    upgrade_with_sleepers
    purge
    # whatever still runs is of this namespace, and ends with its first process, which is this one
    echo "Each step was as it should be, in $((SECONDS - began)) s."
}

start_rabbitmq() {
    step "RabbitMQ, as Debian has it, with its management plugin and the one setting of docs/operations.md"
    echo '[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].' >"$debian/etc/rabbitmq/advanced.config"
    echo '[rabbitmq_management].' >"$debian/etc/rabbitmq/enabled_plugins"
    chroot --userspec=rabbitmq:rabbitmq "$debian" env -i HOME=/var/lib/rabbitmq PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        RABBITMQ_NODENAME=rabbit@localhost /usr/lib/rabbitmq/bin/rabbitmq-server </dev/null >"$work/rabbitmq.log" 2>&1 &
    within 90 "it answers" rabbitmq GET /overview
    # as docs/operations.md has it; the second pattern is what a canary of the doctor's takes
    rabbitmq PUT /users/dormouse "{\"password\":\"$PASSWORD\",\"tags\":\"\"}" >/dev/null
    rabbitmq PUT /permissions/%2f/dormouse \
        '{"configure":"^dormouse[.-]","write":"^(dormouse\\..*|amq\\.default)$","read":"^dormouse[.-]"}' >/dev/null
    seen "RabbitMQ $(rabbitmq GET /overview | jq -r .rabbitmq_version) has a user dormouse with the rights of a worker"
}

install_it() {
    step "apt-get install ./dormouse_….deb"
    apt install "$(deb first)"
    in_debian getent passwd dormouse >/dev/null || fail "there is no user dormouse"
    [[ $(stat -c '%U %a' "$debian/etc/dormouse/dormouse.env") == 'root 600' ]] || fail "others can read dormouse.env"
    [[ -e $debian/usr/share/bash-completion/completions/dormouse ]] || fail "no completions"
    [[ $(in_debian stat -c '%U' /var/lib/dormouse) == dormouse ]] || fail "/var/lib/dormouse is not the user's"
    # a minimal Debian leaves man pages out
    dpkg-deb -c "$(deb first)" | grep -q /usr/share/man/man1/dormouse-schedule-apply.1.gz || fail "no man pages"
    seen "$(in_debian dormouse --version), its user, its directory, its secrets for root only; no service runs"

    step "configure: /etc/dormouse/dormouse.env says where RabbitMQ is, /etc/dormouse/dormouse.toml what is different"
    cat >>"$debian/etc/dormouse/dormouse.env" <<ENV
DORMOUSE_URI='amqp://dormouse:$PASSWORD@127.0.0.1:5672/%2f'
DORMOUSE_MANAGEMENT_URI='http://guest:guest@127.0.0.1:15672'
ENV
    sed -i -e '/^\[attempts\]/,/^\[/{s/^#max = .*/max = 2/;s/^#initial_backoff = .*/initial_backoff = "1s"/}' \
        -e '/^\[commands\]/,/^\[/s/^#enabled = .*/enabled = true/' "$debian/etc/dormouse/dormouse.toml"
    seen "$(dormouse config check | head -n 1)"

    step "start it, and a Prometheus with the rules of the package"
    start_worker
    start_prometheus
    seen "the worker is ready, and Prometheus scrapes it"
}

start_worker() {
    # no systemd in a minimal Debian: as the unit says it
    local unit=$debian/usr/lib/systemd/system/dormouse.service user program
    user=$(sed -n 's/^User=//p' "$unit") program=$(sed -n 's/^ExecStart=//p' "$unit")
    # shellcheck disable=SC2086 # words
    with_environment chroot --userspec="$user:$user" "$debian" $program </dev/null >>"$work/dormouse.log" 2>&1 &
    worker=$!
    within 60 "the worker is ready" curl --silent --fail --output /dev/null http://127.0.0.1:15790/readyz
}

stop_worker() {
    local code=0
    kill -TERM "$worker"
    wait "$worker" || code=$?
    [[ $code == 0 ]] || fail "the worker ended with $code"
}

start_prometheus() {
    cat >"$work/prometheus.yml" <<YAML
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [$debian/usr/share/doc/dormouse/examples/alerts.yml]
scrape_configs: [{ job_name: dormouse, static_configs: [{ targets: ["127.0.0.1:15790"] }] }]
YAML
    "$work/prometheus" --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus-data" \
        --web.listen-address="${PROMETHEUS#http://}" </dev/null >"$work/prometheus.log" 2>&1 &
    within 30 "Prometheus scrapes the worker" is_scraped
}

is_scraped() { [[ $(query up) == 1 ]]; }

ask_the_doctor() {
    step "dormouse doctor --canary=2s"
    local code=0
    dormouse doctor --canary=2s -o json >"$work/doctor.json" || code=$?
    jq -r '.checks[] | select(.grade != "pass") | "    \(.grade): \(.name)"' "$work/doctor.json"
    [[ $code == 0 ]] || { dormouse doctor; fail "the doctor exits with $code"; }
    [[ $(jq -r '.checks[] | select(.name == "canary") | .grade' "$work/doctor.json") == pass ]] || fail "the canary did not come"
    seen "$(jq '[.checks[] | select(.grade == "pass")] | length' "$work/doctor.json") questions pass, the canary's among them; none fails"
}

schedule() {
    step "schedule: dormouse publish --to mail --delay 3s 'good morning'"
    rabbitmq PUT /queues/%2f/mail '{"durable":true,"arguments":{"x-queue-type":"quorum"}}' >/dev/null
    dormouse publish --to mail --delay 3s 'good morning' >/dev/null
    take 1
    [[ $(jq -r '.[0].payload' "$work/taken") == 'good morning' ]] || fail "another body: $(<"$work/taken")"
    none_is_early
    seen "it came, and not early"
}

cancel() {
    step "cancel: dormouse publish --key order-17 …, dormouse cancel order-17"
    dormouse publish --to mail --delay 4s --key order-17 'cancelled' >/dev/null
    local said
    said=$(dormouse cancel order-17 -o json)
    dormouse publish --to mail --delay 6s 'later' >/dev/null
    take 1
    [[ $(jq -r '.[0].payload' "$work/taken") == later ]] || fail "it came in spite of the cancel: $(<"$work/taken")"
    seen "the answer was $(jq -r '[.. | .outcome? // empty] | first' <<<"$said"); what was due later came, and it did not"
}

break_a_target() {
    step "break a target: the queue mail is deleted, and a message is due for it"
    rabbitmq DELETE /queues/%2f/mail >/dev/null
    dormouse publish --to mail --delay 1s 'for nobody' >/dev/null
    within 60 "the alert fires" alert_fires DormouseDeadLettered
    seen "Prometheus fires DormouseDeadLettered: $(summary DormouseDeadLettered)"
    [[ $(dormouse dlq list -o json | jq -r '[.. | .reason? // empty] | first') == unroutable ]] || fail "it is not in the DLQ"
    seen "dormouse dlq list shows it, as unroutable"

    step "repair it: the queue is there again, dormouse dlq redrive --all"
    rabbitmq PUT /queues/%2f/mail '{"durable":true,"arguments":{"x-queue-type":"quorum"}}' >/dev/null
    dormouse dlq redrive --all >/dev/null
    take 1
    [[ $(jq -r '.[0].payload' "$work/taken") == 'for nobody' ]] || fail "another one came: $(<"$work/taken")"
    seen "it came"
}

upgrade_with_sleepers() {
    step "upgrade while $SLEEPERS messages sleep: apt-get install ./dormouse_…+newer….deb"
    dormouse publish --to mail --delay 25s --count "$SLEEPERS" 'asleep' >/dev/null
    apt install "$(deb second)"
    in_debian dpkg-query --show --showformat '${Version}' dormouse | grep -q 'newer$' || fail "it is not the new version"
    grep -qx 'max = 2' "$debian/etc/dormouse/dormouse.toml" || fail "the configuration was overwritten"
    grep -q "$PASSWORD" "$debian/etc/dormouse/dormouse.env" || fail "the secrets were overwritten"
    # as postinst does where systemd runs
    stop_worker
    start_worker
    [[ $(rabbitmq GET /queues/%2f/mail | jq '.messages // 0') == 0 ]] || fail "some came before the new worker was there: too slow a machine"
    take "$SLEEPERS"
    [[ $(jq '[.[].properties.message_id] | unique | length' "$work/taken") == "$SLEEPERS" ]] || fail "some came twice"
    none_is_early
    seen "the old worker ended by itself, the files of /etc/dormouse stayed, and all $SLEEPERS came once, none early"
}

purge() {
    step "purge: dormouse topology destroy, apt-get purge dormouse"
    stop_worker
    dormouse topology destroy --yes >/dev/null
    local left
    left=$(rabbitmq GET /queues/%2f | jq -r '.[].name' | grep -v '^mail$' || true)
    [[ -z $left ]] || fail "RabbitMQ still has $left"
    in_debian env DEBIAN_FRONTEND=noninteractive apt-get -qq purge -y dormouse >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; fail "apt-get purge failed"; }
    left=$(cd "$debian" && find . -xdev -path ./proc -prune -o -iname '*dormouse*' -print)
    [[ -z $left ]] || fail "the package left $left"
    ! in_debian getent passwd dormouse >/dev/null || fail "the user is still there"
    seen "no queue, no file and no user is left"
}

# What is done over and over.
apt() {
    cp "$1" "$debian/tmp/"
    in_debian env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y -o APT::Sandbox::User=root "/tmp/$(basename "$1")" \
        >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; fail "apt-get install failed"; }
    rm "$debian/tmp/$(basename "$1")"
}

deb() { echo "$work/$1"/*.deb; }
in_debian() { chroot "$debian" "$@"; }

# with_environment COMMAND...: with what the package's file of secrets says, and nothing of this machine's.
with_environment() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -c 'set -a; . "$1"; shift; exec "$@"' - "$debian/etc/dormouse/dormouse.env" "$@"
}

dormouse() { with_environment chroot "$debian" /usr/bin/dormouse "$@"; }

# rabbitmq METHOD PATH [BODY]: RabbitMQ's management API.
rabbitmq() {
    curl --silent --fail --user guest:guest --request "$1" "$API$2" ${3:+--header 'Content-Type: application/json' --data "$3"}
}

# take COUNT: so many messages out of the queue mail, into $work/taken.
take() {
    echo '[]' >"$work/taken"
    within 90 "$1 of mail" has_taken "$1"
    local count
    count=$(jq length "$work/taken")
    [[ $count == "$1" ]] || fail "$count came instead of $1"
}

has_taken() {
    rabbitmq POST /queues/%2f/mail/get '{"count":1000,"ackmode":"ack_requeue_false","encoding":"auto"}' >"$work/got" || return 1
    jq -s 'add' "$work/taken" "$work/got" >"$work/all" && mv "$work/all" "$work/taken"
    (($(jq length "$work/taken") >= $1))
}

none_is_early() {
    [[ $(curl --silent http://127.0.0.1:15790/metrics | awk '$1 == "dormouse_early_total" { print $2 }') == 0 ]] || fail "some came early"
}

query() { curl --silent --get "$PROMETHEUS/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[0].value[1]'; }
alerts() { curl --silent "$PROMETHEUS/api/v1/alerts" | jq --arg name "$1" '.data.alerts[] | select(.labels.alertname == $name and .state == "firing")'; }
alert_fires() { [[ -n $(alerts "$1") ]]; }
summary() { alerts "$1" | jq -r .annotations.summary | head -n 1; }

# within SECONDS WHAT COMMAND...: until it succeeds.
within() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "$what: not in time"
        sleep 0.2
    done
}

step() { printf '%4d s  %s\n' "$((SECONDS - began))" "$1"; }
seen() { printf '        ✓ %s\n' "$1"; }
fail() {
    echo "newcomer: $*" >&2
    for log in rabbitmq dormouse prometheus; do
        [[ ! -s ${work:-/}/$log.log ]] || { echo "— the end of $log.log:"; tail -n 8 "$work/$log.log"; } >&2
    done
    exit 1
}
skip() { echo "skipped: a newcomer's day, because $1."; exit 3; }

main "$@"
