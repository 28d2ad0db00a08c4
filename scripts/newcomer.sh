#!/usr/bin/env bash
# A newcomer's first day, in a few minutes: on a clean Debian with RabbitMQ it installs the .deb, asks the doctor, schedules,
# cancels, breaks a target, sees the alert fire, sends the message again, upgrades while messages sleep, and purges.
#
#   scripts/newcomer.sh      or: make newcomer
#
# The Debian is made by debootstrap once (scripts/get-rabbitmq.sh newcomer) and seen through an overlay, so it stays clean. Its
# own systemd runs in it, in namespaces for processes, mounts and the network: it reaches nothing of this machine's, and
# whatever way this ends, its processes and mounts end with it.
# Exit codes: 0 each step was as it should be, 1 one was not, 3 skipped (this machine cannot do it).
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
readonly SLEEPERS=200 PASSWORD=newcomer
readonly API=http://127.0.0.1:15672/api PROMETHEUS=http://127.0.0.1:9090

main() {
    case ${1:-} in
    '') outside ;;
    --boot) work=$2 && boot ;;
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
    scripts/get-rabbitmq.sh newcomer || code=$?
    [[ $code == 0 ]] || exit "$code"
    debian=$(realpath "${DORMOUSE_BROKERS:-.dormouse/brokers}/newcomer")
    clients=$(scripts/get-clients.sh prometheus) || code=$?
    [[ $code == 0 ]] || { echo "$clients"; exit "$code"; }
    mkdir -p .dormouse
    work=$(mktemp -d "$PWD/.dormouse/newcomer.XXXXXX")
    trap 'end; rm -rf --one-file-system "$work"' EXIT
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
    unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child --mount-proc "scripts/$(basename "$0")" --boot "$work" &
    namespaces=$!
    # systemd is the first process in there, and does not end by itself
    while kill -0 "$namespaces" 2>/dev/null && [[ ! -e $work/code ]]; do sleep 0.2; done
    [[ -e $work/code ]] || fail "it ended before its end"
    end
    return "$(<"$work/code")"
}

# Whatever runs in the namespaces ends with their first process, and that with the one that made them.
end() {
    [[ -z ${namespaces:-} ]] || { kill -KILL "$namespaces" && wait "$namespaces"; } 2>/dev/null || true
    namespaces=
}

# The first process in namespaces of its own: it becomes the systemd of the Debian.
boot() {
    local lower
    debian=$work/debian lower=$(realpath "$work/lower")
    hostname newcomer
    ip link set lo up
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/overlay" "$debian" ||
        { mount -t tmpfs tmpfs "$debian" && cp -a "$lower/." "$debian/"; }
    mount -t proc proc "$debian/proc"
    mount -t sysfs sysfs "$debian/sys"
    mount -t cgroup2 cgroup2 "$debian/sys/fs/cgroup"
    mount -t tmpfs tmpfs "$debian/run"
    mount -t tmpfs tmpfs "$debian/tmp"
    echo "127.0.0.1 localhost newcomer" >"$debian/etc/hosts"
    echo '[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].' >"$debian/etc/rabbitmq/advanced.config"
    echo '[rabbitmq_management].' >"$debian/etc/rabbitmq/enabled_plugins"
    # nothing of it is there for a container
    ln -sf /dev/null "$debian/etc/systemd/system/systemd-modules-load.service"
    (
        # in a shell of its own, which the first failure ends
        set +e
        (set -e; inside)
        echo "$?" >"$work/.code" && mv "$work/.code" "$work/code"
    ) &
    # not by chroot, in which no service can have users of its own: all else is hidden from systemd, and from it only
    cd "$debian"
    exec unshare --mount sh -c 'pivot_root . . && umount -l . && exec "$@"' - \
        chroot . env -i container=newcomer PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        /usr/lib/systemd/systemd --log-target=journal --show-status=no </dev/null >"$work/systemd.log" 2>&1
}

inside() {
    began=$SECONDS
    start_rabbitmq
    install_it
    ask_the_doctor
    schedule
    cancel
    break_a_target
    upgrade_with_sleepers
    purge
    echo "Each step was as it should be, in $((SECONDS - began)) s."
}

start_rabbitmq() {
    step "RabbitMQ, as Debian has it, with its management plugin and the one setting of docs/operations.md"
    within 60 "systemd has started" is_up
    in_debian systemctl start rabbitmq-server || fail "RabbitMQ does not start"
    within 90 "it answers" rabbitmq GET /overview
    # as docs/operations.md has it; the second pattern is what a canary of the doctor's takes
    rabbitmq PUT /users/dormouse "{\"password\":\"$PASSWORD\",\"tags\":\"\"}" >/dev/null
    rabbitmq PUT /permissions/%2f/dormouse \
        '{"configure":"^dormouse[.-]","write":"^(dormouse\\..*|amq\\.default)$","read":"^dormouse[.-]"}' >/dev/null
    seen "RabbitMQ $(rabbitmq GET /overview | jq -r .rabbitmq_version) has a user dormouse with the rights of a worker"
}

is_up() { in_debian systemctl is-system-running | grep -Eq 'running|degraded'; }

install_it() {
    step "apt-get install ./dormouse_….deb"
    install_deb "$(deb first)"
    in_debian getent passwd dormouse >/dev/null || fail "there is no user dormouse"
    [[ $(stat -c '%U %a' "$debian/etc/dormouse/dormouse.env") == 'root 600' ]] || fail "others can read dormouse.env"
    [[ -e $debian/usr/share/bash-completion/completions/dormouse ]] || fail "no completions"
    [[ $(in_debian stat -c '%U' /var/lib/dormouse) == dormouse ]] || fail "/var/lib/dormouse is not the user's"
    [[ -e $debian/usr/share/man/man1/dormouse-schedule-apply.1.gz ]] || fail "no man pages"
    ! is_running || fail "the service runs, and nobody has said where RabbitMQ is"
    seen "$(in_debian dormouse --version), its user, its directory, its secrets for root only; no service runs yet"

    step "configure: /etc/dormouse/dormouse.env says where RabbitMQ is, /etc/dormouse/dormouse.toml what is different"
    cat >>"$debian/etc/dormouse/dormouse.env" <<ENV
DORMOUSE_URI='amqp://dormouse:$PASSWORD@127.0.0.1:5672/%2f'
DORMOUSE_MANAGEMENT_URI='http://guest:guest@127.0.0.1:15672'
ENV
    sed -i -e '/^\[attempts\]/,/^\[/{s/^#max = .*/max = 2/;s/^#initial_backoff = .*/initial_backoff = "1s"/}' \
        -e '/^\[commands\]/,/^\[/s/^#enabled = .*/enabled = true/' "$debian/etc/dormouse/dormouse.toml"
    seen "$(dormouse config check | head -n 1)"

    step "systemctl enable --now dormouse; and a Prometheus with the rules of the package"
    in_debian systemctl enable --now dormouse 2>/dev/null || fail "the service does not start"
    is_ready_within 60
    local status=/proc/$(pid)/status
    for expected in 'NoNewPrivs:1' 'Seccomp:2' 'CapEff:0000000000000000'; do
        tr -d '\t' <"$status" | grep -qx "$expected" || fail "not $expected in $(<"$status")"
    done
    seen "the worker is ready as $(in_debian stat -c %U "/proc/$(pid)"), without privileges, its system calls filtered"
    start_prometheus
    seen "Prometheus scrapes it"
}

is_running() { in_debian systemctl --quiet is-active dormouse; }
pid() { in_debian systemctl show --property MainPID --value dormouse; }
is_ready_within() { within "$1" "the worker is ready" curl --silent --fail --output /dev/null http://127.0.0.1:15790/readyz; }

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
    local old
    old=$(pid)
    dormouse publish --to mail --delay 25s --count "$SLEEPERS" 'asleep' >/dev/null
    install_deb "$(deb second)"
    in_debian dpkg-query --show --showformat '${Version}' dormouse | grep -q 'newer$' || fail "it is not the new version"
    grep -qx 'max = 2' "$debian/etc/dormouse/dormouse.toml" || fail "the configuration was overwritten"
    grep -q "$PASSWORD" "$debian/etc/dormouse/dormouse.env" || fail "the secrets were overwritten"
    [[ $(pid) != "$old" ]] || fail "the old program still runs"
    is_ready_within 60
    [[ $(rabbitmq GET /queues/%2f/mail | jq '.messages // 0') == 0 ]] || fail "some came before the new worker was there: too slow a machine"
    take "$SLEEPERS"
    [[ $(jq '[.[].properties.message_id] | unique | length' "$work/taken") == "$SLEEPERS" ]] || fail "some came twice"
    none_is_early
    seen "another process, the same configuration, and all $SLEEPERS came once, none early"
}

purge() {
    step "purge: dormouse topology destroy, apt-get purge dormouse"
    in_debian systemctl stop dormouse
    [[ $(in_debian systemctl show --property ExecMainStatus --value dormouse) == 0 ]] || fail "the worker did not end as it should"
    # RabbitMQ counts every five seconds, and nothing is deleted while it tells of sleepers
    within 30 "nothing sleeps any more" dormouse topology destroy --yes
    local left
    left=$(rabbitmq GET /queues/%2f | jq -r '.[].name' | grep -v '^mail$' || true)
    [[ -z $left ]] || fail "RabbitMQ still has $left"
    in_debian env DEBIAN_FRONTEND=noninteractive apt-get -qq purge -y dormouse >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; fail "apt-get purge failed"; }
    left=$(cd "$debian" && find . -xdev -path ./proc -prune -o -iname '*dormouse*' -print)
    [[ -z $left ]] || fail "the package left $left"
    ! in_debian getent passwd dormouse >/dev/null || fail "the user is still there"
    ! in_debian systemctl cat dormouse >/dev/null 2>&1 || fail "systemd still knows it"
    seen "no queue, no file and no user is left"
}

# What is done over and over.
install_deb() {
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
    if [[ -n ${debian:-} && -e $debian/run/systemd/system ]]; then
        in_debian journalctl --no-pager --quiet --lines 20 --unit dormouse --unit rabbitmq-server >&2 || true
    fi
    exit 1
}
skip() { echo "skipped: a newcomer's day, because $1."; exit 3; }

main "$@"
