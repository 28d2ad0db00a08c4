# The two commands: make demo, make test. Both get what they need.
SHELL := /bin/bash
DORMOUSE := target/debug/dormouse

.PHONY: demo test rabbitmq

## The main job on a real broker, in half a minute.
demo: rabbitmq
	@cargo build --quiet --bin dormouse --example demo
	@rm -rf .dormouse/demo # a fresh broker: an older layout may lie there
	@$(DORMOUSE) dev --no-worker --directory .dormouse/demo -- target/debug/examples/demo

## Every test, those on a real broker included.
test: rabbitmq
	scripts/test.sh

rabbitmq:
	@scripts/get-rabbitmq.sh
