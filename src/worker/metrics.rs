//! The worker's metrics, by name. Counters end in `_total`, durations are seconds.

use std::time::Duration;

use dormouse_core::control::{self, Outcome};
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
const COMMANDS: &str = "dormouse_commands_total";
const DROPPED: &str = "dormouse_dropped_total";
const CLOCK_STEPS: &str = "dormouse_clock_steps_total";

/// What is counted of messages, looked up once. Only [`Events`](super::events::Events) has one.
pub(super) struct Metrics {
    pub scheduled: Counter,
    pub delivered: Counter,
    pub early: Counter,
    pub lateness: Histogram,
    pub keyed_lateness: Histogram,
    pub confirm: Histogram,
    pub hops: Histogram,
    pub put_back: Counter,
    pub returned: Counter,
    pub replanned: Counter,
    pub swept: Counter,
    pub parked: Counter,
    pub internal_refused: Counter,
    pub without_message_id: Counter,
    pub transient: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            scheduled: counter!("dormouse_scheduled_total"),
            delivered: counter!("dormouse_delivered_total"),
            early: counter!("dormouse_early_total"),
            lateness: histogram!("dormouse_lateness_seconds"),
            keyed_lateness: histogram!("dormouse_keyed_lateness_seconds"),
            confirm: histogram!("dormouse_target_confirm_seconds"),
            hops: histogram!("dormouse_hops"),
            put_back: counter!("dormouse_put_back_total"),
            returned: counter!("dormouse_returned_total"),
            replanned: counter!("dormouse_replanned_total"),
            swept: counter!("dormouse_swept_total"),
            parked: counter!("dormouse_parked_total"),
            internal_refused: counter!("dormouse_internal_refused_total"),
            without_message_id: counter!("dormouse_without_message_id_total"),
            transient: counter!("dormouse_transient_total"),
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

    pub fn dropped(&self, cause: control::Cause) {
        counter!(DROPPED, "cause" => cause.as_str()).increment(1);
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

/// What control shows of itself.
pub(super) struct ControlGauges {
    /// 1 while this worker decides the commands.
    pub registrar: Gauge,
    pub blind: Gauge,
    pub keys: Gauge,
    pub key_bytes: Gauge,
    /// Recurring ones.
    pub schedules: Gauge,
    /// Due, and not let go yet.
    pub waiting: Gauge,
    /// Workers that have no part in commands.
    pub bystanders: Gauge,
    fence: Histogram,
}

impl Default for ControlGauges {
    fn default() -> Self {
        Self {
            registrar: gauge!("dormouse_registrar"),
            blind: gauge!("dormouse_log_blind"),
            keys: gauge!("dormouse_keys"),
            key_bytes: gauge!("dormouse_keys_bytes"),
            schedules: gauge!("dormouse_schedules"),
            waiting: gauge!("dormouse_keyed_waiting_messages"),
            bystanders: gauge!("dormouse_workers_without_commands"),
            fence: histogram!("dormouse_fence_seconds"),
        }
    }
}

impl ControlGauges {
    /// A fence was read back, so long after it was published.
    pub fn fence_took(&self, took: Duration) {
        self.fence.record(took.as_secs_f64());
    }

    /// A command was decided, and that can be relied on.
    pub fn decided(&self, verb: &'static str, outcomes: &[Outcome], refused: bool) {
        if refused {
            counter!(COMMANDS, "verb" => verb, "outcome" => "refused").increment(1);
        }
        for outcome in outcomes {
            counter!(COMMANDS, "verb" => verb, "outcome" => outcome.as_str()).increment(1);
        }
    }
}

/// What the ledger shows of itself.
pub(super) struct LedgerMetrics {
    noted: Counter,
    given_up: Counter,
    waiting: Gauge,
    lag: Gauge,
    stalled: Gauge,
}

impl Default for LedgerMetrics {
    fn default() -> Self {
        Self {
            noted: counter!("dormouse_ledger_events_total"),
            given_up: counter!("dormouse_ledger_gap_events_total"),
            waiting: gauge!("dormouse_ledger_waiting_events"),
            lag: gauge!("dormouse_ledger_lag_seconds"),
            stalled: gauge!("dormouse_ledger_stalled"),
        }
    }
}

impl LedgerMetrics {
    /// The stream has so many more.
    pub fn noted(&self, events: u64) {
        self.noted.increment(events);
    }

    /// So many wait, the oldest for so long; and so many were given up in all.
    pub fn measure(&self, waiting: usize, lag: Duration, stalled: bool, given_up: u64) {
        self.waiting.set(waiting as f64);
        self.lag.set(lag.as_secs_f64());
        self.stalled.set(if stalled { 1.0 } else { 0.0 });
        self.given_up.absolute(given_up);
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
const COUNTERS: [(&str, &str); 20] = [
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
    (
        "dormouse_without_message_id_total",
        "Messages planned that have no message_id, so that nobody can tell a duplicate of them",
    ),
    ("dormouse_transient_total", "Messages planned that are not persistent at their target"),
    (RECONNECTS, "Connections lost and built anew"),
    (CLOCK_STEPS, "Steps of the wall clock noticed"),
    (DEAD_LETTERED, "Messages put into the DLQ, by reason"),
    (RETRIED, "Rejected messages put to sleep until they go back to their queue, by retry policy"),
    (ATTEMPTS_FAILED, "Deliveries that failed, by reason"),
    (COMMANDS, "Commands decided by this worker, for each key, by verb and outcome"),
    (DROPPED, "Messages with a key that were not delivered, by cause"),
    ("dormouse_ledger_events_total", "Events that are noted in the ledger"),
    (
        "dormouse_ledger_gap_events_total",
        "Events that the ledger did not take in time, and that are told as a gap",
    ),
];
/// What each shows.
const GAUGES: [(&str, &str); 20] = [
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
    ("dormouse_registrar", "1 while this worker decides the commands"),
    (
        "dormouse_log_blind",
        "1 while this worker does not know what was cancelled: messages with a key wait",
    ),
    ("dormouse_keys", "Keys that are remembered"),
    ("dormouse_keys_bytes", "Bytes of memory that they take"),
    ("dormouse_schedules", "Recurring schedules"),
    (
        "dormouse_keyed_waiting_messages",
        "Messages with a key that are due and wait for a fence, the log or an operator",
    ),
    (
        "dormouse_workers_without_commands",
        "Workers that take messages in and have no part in commands; must be 0",
    ),
    ("dormouse_ledger_waiting_events", "Events that the ledger does not have yet"),
    ("dormouse_ledger_lag_seconds", "How long the oldest of them has been waiting"),
    ("dormouse_ledger_stalled", "1 while the ledger takes nothing, and nobody waits for it"),
];
/// What each measures.
const HISTOGRAMS: [(&str, &str); 5] = [
    ("dormouse_lateness_seconds", "From the due time to the publish to the target"),
    (
        "dormouse_keyed_lateness_seconds",
        "The same of messages with a key, which dormouse_lateness_seconds has, too",
    ),
    ("dormouse_fence_seconds", "From the publish of a fence until it was read back in the log"),
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
    let Metrics { early, delivered, scheduled, returned, without_message_id, transient, .. } =
        Metrics::default();
    let lost = [counter!(RECONNECTS), counter!(CLOCK_STEPS)];
    let seen = [early, delivered, scheduled, returned, without_message_id, transient];
    lost.into_iter().chain(seen).for_each(|counter| counter.increment(0));
}
