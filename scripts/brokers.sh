# Sourced: the RabbitMQ versions that can be had here, this machine's and, as root, 4.0 and 4.3. In `roots`, as
# `dormouse-lab drill --broker` takes them, and by name in `versions`.
roots=() versions=()
if [[ -e /usr/lib/rabbitmq/bin/rabbitmq-server ]]; then
  roots+=(/) versions+=(installed)
fi
for version in 4.0 4.3; do
  code=0
  scripts/get-rabbitmq.sh "$version" || code=$?
  if [ "$code" -eq 0 ]; then
    roots+=("${DORMOUSE_BROKERS:-.dormouse/brokers}/$version") versions+=("$version")
  elif [ "$code" -ne 3 ]; then
    exit "$code"
  fi
done
