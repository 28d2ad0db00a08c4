//! What becomes of messages that were dead-lettered to `dormouse.retry`: one policy for all queues,
//! and others by pattern that say only what differs.

use std::collections::BTreeMap;
use std::time::Duration;

use ::config::{Value, ValueKind};

use super::check::{Rules, last_line};
use super::read::{Wrong, cut, duration, number, ratio, split_commas, text, texts};
use super::{show, words};

/// Applies to every queue, as far as no [`RetryOverride`] says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// How often a message is brought back, where there is no ladder.
    pub max_retries: u32,
    /// Pause before the first time.
    pub initial_backoff: Duration,
    pub multiplier: f64,
    pub max_backoff: Duration,
    /// The pauses one by one, in place of the four above; there are as many retries as pauses.
    pub ladder: Vec<Duration>,
    /// Share of a pause that is random, 0 to 1.
    pub jitter: f64,
    /// A message is not brought back later than this after it was first dead-lettered.
    pub max_age: Duration,
    /// Why a message may have been dead-lettered to be brought back. The rest goes to the DLQ.
    pub reasons: Vec<DeadLetterReason>,
    /// The first one whose pattern matches the queue counts.
    pub policies: Vec<RetryOverride>,
}

/// What is different for some queues.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RetryOverride {
    /// A regular expression, searched in the queue's name.
    pub queues: String,
    pub max_retries: Option<u32>,
    pub initial_backoff: Option<Duration>,
    pub multiplier: Option<f64>,
    pub max_backoff: Option<Duration>,
    pub ladder: Option<Vec<Duration>>,
    pub jitter: Option<f64>,
    pub max_age: Option<Duration>,
    pub reasons: Option<Vec<DeadLetterReason>>,
}

/// Why RabbitMQ dead-lettered a message, in its words: <https://www.rabbitmq.com/docs/dlx#effects>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeadLetterReason {
    /// A consumer rejected it: `basic.reject` or `basic.nack` without requeue.
    Rejected,
    Expired,
    /// The queue was full.
    Maxlen,
    /// A quorum queue had it returned too often.
    DeliveryLimit,
}

impl DeadLetterReason {
    pub const ALL: [DeadLetterReason; 4] = [
        DeadLetterReason::Rejected,
        DeadLetterReason::Expired,
        DeadLetterReason::Maxlen,
        DeadLetterReason::DeliveryLimit,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            DeadLetterReason::Rejected => "rejected",
            DeadLetterReason::Expired => "expired",
            DeadLetterReason::Maxlen => "maxlen",
            DeadLetterReason::DeliveryLimit => "delivery_limit",
        }
    }

    pub fn parse(text: &str) -> Option<DeadLetterReason> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_retries: 10,
            initial_backoff: Duration::from_secs(5),
            multiplier: 3.0,
            max_backoff: Duration::from_secs(3_600),
            ladder: Vec::new(),
            jitter: 0.2,
            max_age: Duration::from_secs(7 * 24 * 3_600),
            reasons: vec![DeadLetterReason::Rejected],
            policies: Vec::new(),
        }
    }
}

impl Retry {
    /// What applies to the queues of one override: what it does not say is as for all queues. One that
    /// says something of growing pauses does not take over the ladder.
    pub fn with(&self, of: &RetryOverride) -> Retry {
        let grows = of.max_retries.is_some()
            || of.initial_backoff.is_some()
            || of.multiplier.is_some()
            || of.max_backoff.is_some();
        let ladder = if grows { Vec::new() } else { self.ladder.clone() };
        Retry {
            max_retries: of.max_retries.unwrap_or(self.max_retries),
            initial_backoff: of.initial_backoff.unwrap_or(self.initial_backoff),
            multiplier: of.multiplier.unwrap_or(self.multiplier),
            max_backoff: of.max_backoff.unwrap_or(self.max_backoff),
            ladder: of.ladder.clone().unwrap_or(ladder),
            jitter: of.jitter.unwrap_or(self.jitter),
            max_age: of.max_age.unwrap_or(self.max_age),
            reasons: of.reasons.clone().unwrap_or_else(|| self.reasons.clone()),
            policies: Vec::new(),
        }
    }
}

/// The keys of an override, for a fault.
const FIELDS: &str = "queues, max_retries, initial_backoff, multiplier, max_backoff, ladder, jitter, \
                      max_age and reasons";

/// The pauses of a ladder; in a variable or a flag commas separate them.
pub(super) fn read_ladder(value: &Value) -> Result<Vec<Duration>, String> {
    match &value.kind {
        ValueKind::String(list) => {
            let pauses = split_commas(list);
            pauses.iter().map(|pause| words::parse_duration(pause)).collect()
        }
        ValueKind::Array(items) => items.iter().map(duration).collect(),
        _ => Err(format!("must be {LADDER}")),
    }
}

pub(super) fn read_reasons(value: &Value) -> Result<Vec<DeadLetterReason>, String> {
    let names = texts(value, split_commas).ok_or_else(|| format!("must be {REASONS}"))?;
    let known = |name: &String| {
        let unknown = || format!("{} is no reason; must be {REASONS}", cut(&show::quoted(name)));
        DeadLetterReason::parse(name).ok_or_else(unknown)
    };
    names.iter().map(known).collect()
}

pub(super) const LADDER: &str =
    r#"a list of durations such as ["2m", "10m", "1h"], or [] for none"#;
pub(super) const REASONS: &str = "a list of rejected, expired, maxlen, delivery_limit";

/// `[[retry.policies]]` tables.
pub(super) fn read_policies(value: &Value) -> Result<Vec<RetryOverride>, Vec<Wrong>> {
    let ValueKind::Array(items) = &value.kind else {
        let problem = "must be tables, each under its own [[retry.policies]] in the file";
        return Err(Wrong::whole(problem));
    };
    let (mut policies, mut wrong) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let entry = format!("entry {}", index + 1);
        let read = match &item.kind {
            ValueKind::Table(table) => read_policy(table.iter().collect()),
            _ => Err(vec![format!(" must be a table of {FIELDS}")]),
        };
        match read {
            Ok(policy) => policies.push(policy),
            Err(problems) => wrong.extend(
                problems
                    .into_iter()
                    .map(|problem| Wrong { item: None, problem: format!("{entry}{problem}") }),
            ),
        }
    }
    if wrong.is_empty() { Ok(policies) } else { Err(wrong) }
}

/// One table, or all that is wrong with it.
fn read_policy(table: BTreeMap<&String, &Value>) -> Result<RetryOverride, Vec<String>> {
    let mut policy = RetryOverride::default();
    let mut problems = Vec::new();
    if !table.keys().any(|key| *key == "queues") {
        problems.push(" has no queues; write a pattern of the queues it is for".to_owned());
    }
    for (key, value) in table {
        let must = |right: &str| format!("must be {right}");
        let read = match key.as_str() {
            "queues" => text(value)
                .map(|pattern| policy.queues = pattern.to_owned())
                .ok_or_else(|| must("a regular expression")),
            "max_retries" => number(value)
                .and_then(|number| u32::try_from(number).ok())
                .map(|number| policy.max_retries = Some(number))
                .ok_or_else(|| must("a whole number, at least 0")),
            "initial_backoff" => duration(value).map(|pause| policy.initial_backoff = Some(pause)),
            "max_backoff" => duration(value).map(|pause| policy.max_backoff = Some(pause)),
            "max_age" => duration(value).map(|age| policy.max_age = Some(age)),
            "multiplier" => ratio(value)
                .filter(|number| *number >= 1.0)
                .map(|number| policy.multiplier = Some(number))
                .ok_or_else(|| must("a number, at least 1")),
            "jitter" => ratio(value)
                .filter(|number| (0.0..=1.0).contains(number))
                .map(|number| policy.jitter = Some(number))
                .ok_or_else(|| must("a number, 0 to 1")),
            "ladder" => read_ladder(value).map(|pauses| policy.ladder = Some(pauses)),
            "reasons" => read_reasons(value).map(|reasons| policy.reasons = Some(reasons)),
            unknown => {
                let unknown = cut(&show::quoted(unknown));
                problems.push(format!(" has an unknown key {unknown}; known are {FIELDS}"));
                continue;
            }
        };
        problems.extend(read.err().map(|problem| format!(": {key} {problem}")));
    }
    if problems.is_empty() { Ok(policy) } else { Err(problems) }
}

impl RetryOverride {
    /// Its keys and values as TOML, one each.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let pause = |of: &Option<Duration>| of.map(|of| show::quoted(&words::duration(of)));
        let fields = [
            ("queues", Some(show::quoted(&self.queues))),
            ("max_retries", self.max_retries.map(|number| number.to_string())),
            ("initial_backoff", pause(&self.initial_backoff)),
            ("multiplier", self.multiplier.map(|number| format!("{number:?}"))),
            ("max_backoff", pause(&self.max_backoff)),
            ("ladder", self.ladder.as_deref().map(shown_ladder)),
            ("jitter", self.jitter.map(|number| format!("{number:?}"))),
            ("max_age", pause(&self.max_age)),
            ("reasons", self.reasons.as_deref().map(shown_reasons)),
        ];
        fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

pub(super) fn shown_ladder(pauses: &[Duration]) -> String {
    show::list(pauses.iter().map(|pause| show::quoted(&words::duration(*pause))))
}

pub(super) fn shown_reasons(reasons: &[DeadLetterReason]) -> String {
    show::list(reasons.iter().map(|reason| show::quoted(reason.as_str())))
}

impl Rules<'_> {
    pub(super) fn retry(&mut self) {
        const POLICIES: &[&str] = &["retry.policies"];
        const BACKOFF: &[&str] = &["retry.initial_backoff", "retry.max_backoff"];
        let retry = &self.config.retry;
        if shrinks(retry) {
            let max = words::duration(retry.max_backoff);
            self.fail(BACKOFF, format!("must be at most retry.max_backoff, {max}"));
        }
        for policy in &retry.policies {
            let queues = &policy.queues;
            if let Err(error) = regex::Regex::new(queues) {
                let reason = last_line(&error.to_string());
                self.fail_item(POLICIES, queues, format!("is not a regular expression: {reason}"));
            }
            let grows = [
                ("max_retries", policy.max_retries.is_some()),
                ("initial_backoff", policy.initial_backoff.is_some()),
                ("multiplier", policy.multiplier.is_some()),
                ("max_backoff", policy.max_backoff.is_some()),
            ];
            if policy.ladder.as_ref().is_some_and(|ladder| !ladder.is_empty()) {
                for (key, _) in grows.into_iter().filter(|(_, given)| *given) {
                    let problem = format!("has a ladder and {key}; the ladder alone would count");
                    self.fail_item(POLICIES, queues, problem);
                }
            } else if (policy.initial_backoff.is_some() || policy.max_backoff.is_some())
                // what it only takes over is told above
                && shrinks(&retry.with(policy))
            {
                let problem = "has an initial_backoff longer than its max_backoff";
                self.fail_item(POLICIES, queues, problem);
            }
        }
    }
}

/// Whether its pauses begin longer than they may become. They are not used beside a ladder.
fn shrinks(retry: &Retry) -> bool {
    retry.ladder.is_empty() && retry.initial_backoff > retry.max_backoff
}
