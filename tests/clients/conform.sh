# Publishes every row of the conformance table that amqp-publish can encode: it knows strings only.
set -euo pipefail

# row NAME [DELAY]
row() {
    local to delay=()
    [[ $# -lt 2 ]] || delay=(-H "x-delay: $2")
    for to in '-r conform.sent' '-e dormouse.delay -r conform'; do
        # shellcheck disable=SC2086
        amqp-publish --url="$DORMOUSE_URI" $to -C application/json -E gzip -t reply -p \
            -H "row: $1" -H 'tenant: Zürich' "${delay[@]}" -b 'a body'
    done
}

row absent
row string 300
row 'string with a sign' +300
row 'negative string' -5
row words 5s
row fraction 500.5
row empty ''
