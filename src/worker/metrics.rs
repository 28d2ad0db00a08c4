//! The worker's metrics, by name. Counters end in `_total`, durations are seconds.

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::schedule::Reason;

/// Upper bounds for the histograms of durations.
pub const LATENESS_BUCKETS_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

const DEAD_LETTERED: &str = "dormouse_dead_lettered_total";
const RETRIED: &str = "dormouse_retried_total";
const ATTEMPTS_FAILED: &str = "dormouse_attempts_failed_total";
const RECONNECTS: &str = "dormouse_reconnects_total";
const CLOCK_STEPS: &str = "dormouse_clock_steps_total";

/// What is counted of messages, looked up once. Only [`Events`](super::events::Events) has one.
pub(super) struct Metrics {
    pub scheduled: Counter,
    pub delivered: Counter,
    pub early: Counter,
    pub lateness: Histogram,
    pub confirm: Histogram,
    pub hops: Histogram,
    pub put_back: Counter,
    pub returned: Counter,
    pub replanned: Counter,
    pub swept: Counter,
    pub parked: Counter,
    pub internal_refused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            scheduled: counter!("dormouse_scheduled_total"),
            delivered: counter!("dormouse_delivered_total"),
            early: counter!("dormouse_early_total"),
            lateness: histogram!("dormouse_lateness_seconds"),
            confirm: histogram!("dormouse_target_confirm_seconds"),
            hops: histogram!("dormouse_hops"),
            put_back: counter!("dormouse_put_back_total"),
            returned: counter!("dormouse_returned_total"),
            replanned: counter!("dormouse_replanned_total"),
            swept: counter!("dormouse_swept_total"),
            parked: counter!("dormouse_parked_total"),
            internal_refused: counter!("dormouse_internal_refused_total"),
        }
    }
}

impl Metrics {
    pub fn dead_lettered(&self, reason: Reason, messages: u64) {
        counter!(DEAD_LETTERED, "reason" => reason.as_str()).increment(messages);
    }

    pub fn retried(&self, policy: &str, messages: u64) {
        counter!(RETRIED, "policy" => policy.to_owned()).increment(messages);
    }

    pub fn attempt_failed(&self, reason: Reason) {
        counter!(ATTEMPTS_FAILED, "reason" => reason.as_str()).increment(1);
    }
}

/// What a session shows of itself.
pub(super) struct Gauges {
    pub held_messages: Gauge,
    pub held_bytes: Gauge,
    pub dlq_refuses: Gauge,
    pub kept: Gauge,
    pub unconfirmed: Gauge,
    pub intake_backlog: Gauge,
    pub intake_oldest_age: Gauge,
    pub connected: Gauge,
    pub blocked: Gauge,
}

impl Default for Gauges {
    fn default() -> Self {
        Self {
            held_messages: gauge!("dormouse_held_messages"),
            held_bytes: gauge!("dormouse_held_bytes"),
            dlq_refuses: gauge!("dormouse_dlq_refuses"),
            kept: gauge!("dormouse_kept_messages"),
            unconfirmed: gauge!("dormouse_unconfirmed_publishes"),
            intake_backlog: gauge!("dormouse_intake_backlog_messages"),
            intake_oldest_age: gauge!("dormouse_intake_oldest_age_seconds"),
            connected: gauge!("dormouse_connected"),
            blocked: gauge!("dormouse_blocked"),
        }
    }
}

/// A session was lost.
pub(super) fn reconnected() {
    counter!(RECONNECTS).increment(1);
}

/// The wall clock was stepped.
pub(super) fn clock_stepped() {
    counter!(CLOCK_STEPS).increment(1);
}

/// What each counts, for the help texts.
const COUNTERS: [(&str, &str); 14] = [
    ("dormouse_scheduled_total", "Messages planned and put into the cascade"),
    ("dormouse_delivered_total", "Messages confirmed by their target"),
    ("dormouse_early_total", "Messages published before their due time; must stay 0"),
    ("dormouse_put_back_total", "Messages a full hold put back through the wait queue"),
    ("dormouse_returned_total", "Publishes to targets that RabbitMQ returned as unroutable"),
    ("dormouse_replanned_total", "Messages that woke much too early and were planned again"),
    (
        "dormouse_swept_total",
        "Messages planned again after a broker's start, to make up for its downtime",
    ),
    ("dormouse_parked_total", "Messages taken from the parking queue; the topology has a hole"),
    (
        "dormouse_internal_refused_total",
        "Publishes into queues of ours that were refused and made again",
    ),
    (RECONNECTS, "Connections lost and built anew"),
    (CLOCK_STEPS, "Steps of the wall clock noticed"),
    (DEAD_LETTERED, "Messages put into the DLQ, by reason"),
    (RETRIED, "Rejected messages put to sleep until they go back to their queue, by retry policy"),
    (ATTEMPTS_FAILED, "Deliveries that failed, by reason"),
];
/// What each shows.
const GAUGES: [(&str, &str); 10] = [
    ("dormouse_held_messages", "Messages in the hold, unacknowledged"),
    ("dormouse_held_bytes", "Bytes of bodies in the hold"),
    ("dormouse_dlq_refuses", "1 while the DLQ refuses messages, which sleep until it has room"),
    (
        "dormouse_kept_messages",
        "Messages that RabbitMQ refuses and the DLQ too, unacknowledged where they are",
    ),
    ("dormouse_unconfirmed_publishes", "Publishes to targets without a confirm yet"),
    ("dormouse_intake_backlog_messages", "Messages ready in the intake queues"),
    (
        "dormouse_intake_oldest_age_seconds",
        "At most so old is the oldest message in the intake queues",
    ),
    ("dormouse_connected", "1 while connected to RabbitMQ"),
    (
        "dormouse_missing_objects",
        "Exchanges of ours that were deleted and are not declared again; must be 0",
    ),
    ("dormouse_blocked", "1 while an alarm of RabbitMQ blocks publishes"),
];
/// What each measures.
const HISTOGRAMS: [(&str, &str); 3] = [
    ("dormouse_lateness_seconds", "From the due time to the publish to the target"),
    ("dormouse_target_confirm_seconds", "From the publish to a target to its confirm"),
    ("dormouse_hops", "Level queues planned for a message"),
];

/// Registers the help texts, and the counters that should be seen as 0 from the start.
pub fn describe() {
    COUNTERS.into_iter().for_each(|(name, help)| describe_counter!(name, help));
    GAUGES.into_iter().for_each(|(name, help)| describe_gauge!(name, help));
    HISTOGRAMS.into_iter().for_each(|(name, help)| describe_histogram!(name, help));
    for reason in Reason::ALL {
        counter!(DEAD_LETTERED, "reason" => reason.as_str()).increment(0);
    }
    // what nobody has looked up is not exported
    Gauges::default();
    let Metrics { early, delivered, scheduled, returned, .. } = Metrics::default();
    for counter in
        [early, delivered, scheduled, returned, counter!(RECONNECTS), counter!(CLOCK_STEPS)]
    {
        counter.increment(0);
    }
}
