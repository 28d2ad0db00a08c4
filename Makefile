# The two commands: make demo, make test. Both get what they need.
SHELL := /bin/bash
DORMOUSE := target/debug/dormouse

.PHONY: demo test deny rabbitmq

## The main job on a real broker, in half a minute.
demo: rabbitmq
	@cargo build --quiet --bin dormouse --example demo
	@rm -rf .dormouse/demo # a fresh broker: an older layout may lie there
	@$(DORMOUSE) dev --no-worker --directory .dormouse/demo -- target/debug/examples/demo

## Every test, those on a real broker included.
test: rabbitmq
	scripts/test.sh

## Licenses, bans and sources of all dependencies; `make test` checks the same rules without cargo-deny.
deny:
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny"; exit 1; }
	cargo deny check licenses bans sources

rabbitmq:
	@scripts/get-rabbitmq.sh
