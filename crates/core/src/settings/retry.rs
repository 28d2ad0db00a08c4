//! What becomes of messages that were dead-lettered to `dormouse.retry`: one policy for all queues,
//! and others by pattern that say only what differs.

use std::time::Duration;

/// Ladders that have a name, in seconds: how a shop is told of a payment, over a day; and the 18 levels that RocketMQ
/// delays by.
/// <https://rocketmq.apache.org/docs/4.x/producer/04message3/>
const LADDERS: [(&str, &[u64]); 2] = [
    ("payment", &[120, 600, 600, 3_600, 7_200, 21_600, 54_000]),
    (
        "rocketmq",
        &[
            1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1_200, 1_800, 3_600,
            7_200,
        ],
    ),
];

/// The pauses of the ladder with this name.
pub fn ladder_named(name: &str) -> Option<Vec<Duration>> {
    let (_, seconds) = LADDERS.iter().find(|(known, _)| *known == name)?;
    Some(seconds.iter().copied().map(Duration::from_secs).collect())
}

/// Applies to every queue, as far as no [`RetryOverride`] says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// How often a message is brought back, where there is no ladder.
    pub max_retries: u32,
    /// Pause before the first time.
    pub initial_backoff: Duration,
    /// Each further pause is this many times longer.
    pub multiplier: f64,
    /// No pause that grew is longer than this, its jitter included.
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
    /// In place of [`Retry::max_retries`].
    pub max_retries: Option<u32>,
    /// In place of [`Retry::initial_backoff`].
    pub initial_backoff: Option<Duration>,
    /// In place of [`Retry::multiplier`].
    pub multiplier: Option<f64>,
    /// In place of [`Retry::max_backoff`].
    pub max_backoff: Option<Duration>,
    /// In place of [`Retry::ladder`].
    pub ladder: Option<Vec<Duration>>,
    /// In place of [`Retry::jitter`].
    pub jitter: Option<f64>,
    /// In place of [`Retry::max_age`].
    pub max_age: Option<Duration>,
    /// In place of [`Retry::reasons`].
    pub reasons: Option<Vec<DeadLetterReason>>,
}

/// Why RabbitMQ dead-lettered a message, in its words: <https://www.rabbitmq.com/docs/dlx#effects>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeadLetterReason {
    /// A consumer rejected it: `basic.reject` or `basic.nack` without requeue.
    Rejected,
    /// Its TTL, or its queue's, was over.
    Expired,
    /// The queue was full.
    Maxlen,
    /// A quorum queue had it returned too often.
    DeliveryLimit,
}

impl DeadLetterReason {
    /// In the order in which the reference lists them.
    pub const ALL: [DeadLetterReason; 4] = [
        DeadLetterReason::Rejected,
        DeadLetterReason::Expired,
        DeadLetterReason::Maxlen,
        DeadLetterReason::DeliveryLimit,
    ];

    /// As RabbitMQ spells it in `x-death`.
    pub fn as_str(self) -> &'static str {
        match self {
            DeadLetterReason::Rejected => "rejected",
            DeadLetterReason::Expired => "expired",
            DeadLetterReason::Maxlen => "maxlen",
            DeadLetterReason::DeliveryLimit => "delivery_limit",
        }
    }

    /// The reason that is spelt so.
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
