//! In: what was seen of the queues. Out: depth by level and stage, with due times. Pure.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::due_window::due_window;
use super::seen::{Counts, Seen};
use crate::config::Config;
use crate::operate::amount::first_of;
use crate::operate::{count, number};
use crate::schedule::{Layout, Level, UnixMs};
use crate::topology::{Names, Topology, layout};
use crate::worker::{KeptMessage, KeptNote};

/// The state of one namespace in one virtual host.
#[derive(Debug)]
pub struct Overview {
    pub levels: Vec<LevelDepth>,
    pub stages: Vec<Stage>,
    pub other_versions: Vec<OtherVersion>,
    /// Names of queues that ought to be there.
    pub missing: Vec<String>,
    /// Workers that deliver.
    pub workers: Option<u64>,
    /// What is not as it should be, in sentences.
    pub findings: Vec<String>,
}

#[derive(Debug)]
pub struct LevelDepth {
    pub number: usize,
    pub step: Duration,
    pub counts: Counts,
    /// Over all its queues that hold messages, or could.
    pub due: RangeInclusive<UnixMs>,
    pub queues: Vec<QueueDepth>,
}

#[derive(Debug)]
pub struct QueueDepth {
    pub name: String,
    pub ttl: Duration,
    pub counts: Counts,
    pub due: RangeInclusive<UnixMs>,
}

/// A queue that is no level: where messages wait for a worker, or for an operator.
#[derive(Debug)]
pub struct Stage {
    pub name: &'static str,
    pub queue: String,
    pub counts: Counts,
}

/// Level queues of another topology version, which run dry.
#[derive(Debug)]
pub struct OtherVersion {
    pub version: u32,
    pub counts: Counts,
    /// The latest due time of what it holds; none if it holds nothing.
    pub latest_due: Option<UnixMs>,
}

impl Counts {
    /// Adds what is known; unknown only if both are.
    pub fn plus(self, other: Counts) -> Counts {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        Counts {
            ready: sum(self.ready, other.ready),
            unacked: sum(self.unacked, other.unacked),
            backlog: sum(self.backlog, other.backlog),
            consumers: sum(self.consumers, other.consumers),
        }
    }

    /// Whether a message is known to be in it.
    pub fn holds_messages(&self) -> bool {
        [self.ready, self.unacked, self.backlog].into_iter().flatten().any(|count| count > 0)
    }
}

impl Overview {
    pub fn of(config: &Config, topology: &Topology, seen: &Seen, now: UnixMs) -> Self {
        let (layout, names) = (layout(config), Names::of(config));
        let counts = |queue: &str| seen.queues.get(queue).copied().unwrap_or_default();
        let levels = layout.levels().iter();
        let stages = stages(config, &names, counts);
        let all = topology.queues.iter().map(|queue| queue.name.clone());
        let mut overview = Self {
            levels: levels.map(|level| level_depth(&layout, level, &names, counts, now)).collect(),
            other_versions: other_versions(&names, seen, layout.margin(), now),
            missing: all.filter(|queue| !seen.queues.contains_key(queue)).collect(),
            workers: workers(counts(&names.due()), counts(&names.retry())),
            stages,
            findings: Vec::new(),
        };
        overview.findings = overview.find(&names, &seen.missing_exchanges);
        overview.findings.extend(full(&names, topology, seen));
        overview.findings.extend(seen.kept.as_ref().and_then(kept));
        overview
    }

    /// What sleeps in the level queues of this version.
    pub fn asleep(&self) -> Counts {
        self.levels.iter().fold(Counts::default(), |sum, level| sum.plus(level.counts))
    }

    fn find(&self, names: &Names, missing_exchanges: &[String]) -> Vec<String> {
        let mut findings = Vec::new();
        if !missing_exchanges.is_empty() {
            findings.push(format!(
                "Exchanges are missing: {}. What is published to them is refused (404), what is rejected \
                 into them is lost. A worker declares them within seconds if it may, `dormouse topology \
                 apply` does it without one.",
                first_of(missing_exchanges)
            ));
        }
        if !self.missing.is_empty() {
            findings.push(format!(
                "Queues are missing: {}. A worker declares them when it starts, `dormouse topology apply` \
                 does it without one.",
                first_of(&self.missing)
            ));
        }
        let is_missing = |queue: &String| self.missing.contains(queue);
        if self.workers == Some(0) && !is_missing(&names.due()) {
            findings.push(
                "No worker runs: nothing is scheduled or delivered, and nothing is lost.".into(),
            );
        }
        for stage in self.stages.iter().filter(|stage| stage.name == "parking") {
            if stage.counts.ready.is_some_and(|ready| ready > 0) {
                findings.push(
                    "Messages are parked: an exchange of ours lacks a queue or a binding \
                     (`dormouse topology plan` names it); a worker tries them again."
                        .into(),
                );
            }
        }
        findings
    }
}

/// Queues of ours that a policy bounds and that have no room.
fn full(names: &Names, topology: &Topology, seen: &Seen) -> Vec<String> {
    let ours = topology.queues.iter().filter_map(|queue| seen.full.get_key_value(&queue.name));
    ours.map(|(queue, limit)| {
        if *queue == names.dlq() {
            format!(
                "The DLQ is full: a policy sets {limit}. What is dead sleeps and is tried again; nothing is \
                 lost. Raise the limit, or empty it with `dormouse dlq redrive` or `dormouse dlq purge`."
            )
        } else {
            format!(
                "Queue {queue} is full: a policy sets {limit}. What belongs there waits (`dormouse \
                 topology verify`)."
            )
        }
    })
    .collect()
}

/// What a worker can neither pass on nor put into the DLQ.
fn kept(note: &KeptNote) -> Option<String> {
    let first = note.named.first()?;
    let named = note.named.iter().map(|message| {
        let KeptMessage { id, message_id, queue, exchange, routing_key, bytes, .. } = message;
        let exchange = if exchange.is_empty() { String::new() } else { format!("{exchange} ") };
        let own = message_id.as_ref().map_or_else(String::new, |own| format!("message_id {own}, "));
        format!(
            "{id} in {queue} ({own}for {exchange}{routing_key}, {} bytes)",
            number(*bytes as u64)
        )
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match note.messages.saturating_sub(note.named.len()) {
        0 => String::new(),
        more => format!(" and {} more", number(more as u64)),
    };
    Some(format!(
        "RabbitMQ takes {} from nobody, not even for the DLQ: {named}{more}. It answers: {}. What it \
         refuses stays where it is, is tried again (every 5 minutes at last), and holds up nothing: raise the limit \
         that is named.",
        count(note.messages as u64, "message"),
        first.answer
    ))
}

fn level_depth(
    layout: &Layout,
    level: &Level,
    names: &Names,
    counts: impl Fn(&str) -> Counts,
    now: UnixMs,
) -> LevelDepth {
    let step = Duration::from_millis(level.step_ms);
    let queues: Vec<_> = (1..)
        .zip(level.queues())
        .map(|(digit, (ttl, _))| {
            let name = names.level_queue(level, digit);
            let counts = counts(&name);
            QueueDepth { name, ttl, counts, due: due_window(now, ttl, step, layout.margin()) }
        })
        .collect();
    let total = queues.iter().fold(Counts::default(), |sum, queue| sum.plus(queue.counts));
    // of those that hold messages; of an empty level what it could hold
    let is_shown = |queue: &&QueueDepth| queue.counts.holds_messages() || !total.holds_messages();
    let latest = queues.iter().filter(is_shown).map(|queue| *queue.due.end()).max();
    LevelDepth {
        number: level.number,
        step,
        counts: total,
        due: now..=latest.unwrap_or(now),
        queues,
    }
}

/// A worker has as many consumers on its version's due queue as its hold takes channels, and one on the retry queue,
/// which all versions share.
fn workers(due: Counts, retry: Counts) -> Option<u64> {
    due.consumers.map(|due| retry.consumers.map_or(due, |retry| due.min(retry.max(1))))
}

fn stages(config: &Config, names: &Names, counts: impl Fn(&str) -> Counts) -> Vec<Stage> {
    let stage = |name, queue: String| Stage { name, counts: counts(&queue), queue };
    let intakes = config.delay_exchanges.iter().map(|delay| stage("intake", names.intake(delay)));
    let expired = config.delay_exchanges.iter().map(|delay| stage("expired", names.expired(delay)));
    let rest = [
        stage("retry", names.retry()),
        stage("due", names.due()),
        stage("wait", names.wait()),
        stage("parking", names.parking()),
        stage("DLQ", names.dlq()),
    ];
    intakes.chain(expired).chain(rest).collect()
}

fn other_versions(names: &Names, seen: &Seen, margin: Duration, now: UnixMs) -> Vec<OtherVersion> {
    let mut versions: BTreeMap<u32, OtherVersion> = BTreeMap::new();
    for (queue, counts) in &seen.queues {
        let Some(version) = version_of(queue, names).filter(|version| *version != names.version())
        else {
            continue;
        };
        let other = OtherVersion { version, counts: Counts::default(), latest_due: None };
        let other = versions.entry(version).or_insert(other);
        other.counts = other.counts.plus(*counts);
        if !counts.holds_messages() {
            continue;
        }
        let latest = match (seen.ttls_ms.get(queue), digit_of(queue)) {
            (Some(ttl_ms), Some(digit)) => {
                let step = Duration::from_millis(ttl_ms / digit.max(1));
                *due_window(now, Duration::from_millis(*ttl_ms), step, margin).end()
            }
            _ => now,
        };
        other.latest_due = other.latest_due.max(Some(latest));
    }
    versions.into_values().collect()
}

/// The topology version in a queue's name, if it is ours and has one.
fn version_of(queue: &str, names: &Names) -> Option<u32> {
    let any = names.in_version(0).versioned();
    let (version, _) = queue.strip_prefix(any.strip_suffix("0.")?)?.split_once('.')?;
    let version = version.parse().ok()?;
    queue.starts_with(&names.in_version(version).versioned()).then_some(version)
}

/// The digit of a level queue: `dormouse.v1.level.03.002.2h16m32s` is digit 2.
fn digit_of(queue: &str) -> Option<u64> {
    queue.rsplit('.').nth(1)?.parse().ok()
}
