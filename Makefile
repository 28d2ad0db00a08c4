# make demo, make dev, make test, make drill, make bench, make release, make newcomer. Each gets what it needs.
SHELL := /bin/bash
LAB := target/debug/dormouse-lab

.PHONY: demo dev test drill soak bench release newcomer deny semver rabbitmq

## The main job on a real broker, in half a minute.
demo: rabbitmq
	@cargo build --quiet --workspace --bin dormouse-lab --example demo
	@rm -rf .dormouse/demo # a fresh broker: an older layout may lie there
	@$(LAB) dev --no-worker --directory .dormouse/demo -- target/debug/examples/demo

## A private RabbitMQ and a worker to play with; says how to reach them. Ctrl-C stops both. ARGS='--broker .dormouse/brokers/4.3'
dev: rabbitmq
	@cargo build --quiet --workspace --bin dormouse --bin dormouse-lab
	@echo "dormouse is $(CURDIR)/target/debug/dormouse"
	@$(LAB) dev $(ARGS)

## Every test, those on a real broker included.
test: rabbitmq
	scripts/test.sh

## Every fault on every version that can be had, half an hour; one table at the end. ARGS='--duration 60s': over an hour.
drill: rabbitmq
	scripts/drill.sh $(or $(ARGS),--duration 12s)

## Every drill with new seeds, for an hour; a seed that fails is printed with its command. SECONDS_LONG=600: ten minutes.
soak: rabbitmq
	scripts/soak.sh $(ARGS)

## Dormouse beside other ways to delay a message, into bench/. Two hours; ONLY=max BROKERS=3.10 is a part of it.
bench:
	@scripts/bench.sh

## The static program, the .deb, the image, the chart and their sums into dist/, each tried. ARGS=v0.1.0: a tag.
release: rabbitmq
	scripts/release.sh $(ARGS)
	cargo build --quiet --workspace --bin dormouse-lab
	$(LAB) dev --no-worker --directory .dormouse/release -- scripts/check-release.sh

## Install, doctor, schedule, cancel, break, alert, redrive, upgrade and purge, on a clean Debian; minutes. As root.
newcomer:
	scripts/newcomer.sh

## Licenses, bans and sources of all dependencies; `make test` checks the same rules without cargo-deny.
deny:
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny"; exit 1; }
	cargo deny check licenses bans sources

## What a newer library breaks for who compiled against an older one. BASE=v0.1.0: a tag or commit; else the newest tag.
semver:
	@cargo semver-checks --version >/dev/null 2>&1 || { echo "cargo-semver-checks is missing: cargo install --locked cargo-semver-checks"; exit 1; }
	@base="$(or $(BASE),$$(git describe --tags --abbrev=0 2>/dev/null))"; \
	[ -n "$$base" ] || { echo "there is no tag to compare with: BASE=COMMIT names what is older"; exit 1; }; \
	cargo semver-checks --package dormouse-client --baseline-rev "$$base"

rabbitmq:
	@scripts/get-rabbitmq.sh
