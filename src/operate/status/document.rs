//! The state as programs get it.

use serde_json::{Value as Json, json};

use super::Status;
use super::overview::LevelDepth;
use super::seen::Counts;
use crate::config::Config;
use crate::schedule::UnixMs;

impl Status {
    /// Times are RFC 3339, durations ms; `null` is what could not be seen.
    pub fn document(&self, config: &Config) -> Json {
        let Self { at, seen, overview, commands, ledger } = self;
        let stages = overview
            .stages
            .iter()
            .map(|stage| with(json!({ "stage": stage.name, "queue": stage.queue }), stage.counts));
        let others = overview.other_versions.iter().map(|other| {
            let latest_due = other.latest_due.map(|latest| latest.to_string());
            with(json!({ "version": other.version, "latest_due": latest_due }), other.counts)
        });
        let mut document = json!({
            "at": at.to_string(),
            "broker": config.broker.uri[0].to_string(),
            "rabbitmq_version": seen.rabbitmq_version.as_ref().ok(),
            "management_api_problem": seen.rabbitmq_version.as_ref().err().map(|why| why.to_string()),
            "topology_version": config.topology.version,
            "workers": overview.workers,
            "asleep": with(json!({}), overview.asleep()),
            "levels": overview.levels.iter().map(level).collect::<Vec<_>>(),
            "stages": stages.collect::<Vec<_>>(),
            "other_versions": others.collect::<Vec<_>>(),
            "missing_queues": overview.missing,
            "missing_exchanges": seen.missing_exchanges,
            "exchanges_of_gone_queues": seen.ways_to_nowhere,
            "kept": seen.kept.as_ref().map(|kept| json!({ "messages": kept.messages, "named": kept.named })),
            "findings": overview.findings,
        });
        if let Some(commands) = commands {
            document["commands"] = commands.document();
        }
        if let Some(ledger) = ledger {
            document["ledger"] = ledger.document();
        }
        document
    }
}

fn level(level: &LevelDepth) -> Json {
    let due =
        |due: &std::ops::RangeInclusive<UnixMs>| (due.start().to_string(), due.end().to_string());
    let queues = level.queues.iter().map(|queue| {
        let (earliest, latest) = due(&queue.due);
        let ttl_ms = queue.ttl.as_millis() as u64;
        let queue_fields = json!({ "queue": queue.name, "ttl_ms": ttl_ms, "earliest_due": earliest, "latest_due": latest });
        with(queue_fields, queue.counts)
    });
    let (earliest, latest) = due(&level.due);
    let fields = json!({
        "level": level.number,
        "step_ms": level.step.as_millis() as u64,
        "earliest_due": earliest,
        "latest_due": latest,
        "queues": queues.collect::<Vec<_>>(),
    });
    with(fields, level.counts)
}

/// Adds the counters; `null` is one that could not be seen.
fn with(mut fields: Json, counts: Counts) -> Json {
    let Counts { ready, unacked, backlog, consumers } = counts;
    fields["ready"] = json!(ready);
    fields["unacked"] = json!(unacked);
    fields["dead_letter_backlog"] = json!(backlog);
    if consumers.is_some() {
        fields["consumers"] = json!(consumers);
    }
    fields
}
