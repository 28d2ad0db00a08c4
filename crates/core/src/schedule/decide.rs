//! In: a message as a queue of ours gave it, or what became of its delivery. Out: what becomes of it.
//! Pure: the moment, a new id and chance come in as arguments.
//!
//! Whoever gets a [`Cause`] puts the message into the DLQ with it.

use std::time::Duration;

use super::attempt::{Backoff, Cause, Reason};
use super::authority::{Authority, Refusal};
use super::death::{self, Death, DeathFault};
use super::delay::{self, Bounds, DelayFault};
use super::delayed_message::DelayedMessage;
use super::retry::Policies;
use super::rounds::Rounds;
use super::stamp::StampedKey;
use super::time::UnixMs;
use crate::control::key::Key;
use crate::message::{DIRECT_REPLY_TO, Headers, Message, Value, as_integer};
use crate::settings::{Config, DelayExchange};

/// What one configuration says about messages.
#[derive(Debug, Clone)]
pub struct Rules {
    authority: Authority,
    backoff: Backoff,
    policies: Policies,
    bounds: Bounds,
    max_rounds: u32,
    /// Commands are on, so keys count.
    reads_keys: bool,
    trust_broker_timestamp: bool,
    /// The shortest and the longest pause before the DLQ is asked again.
    dlq_again: (Duration, Duration),
    /// Its name shows what was dead-lettered by a client's queue.
    retry_exchange: String,
    /// Bytes; what does not fit one frame beside our headers is not taken in.
    frame_max_bytes: usize,
}

/// What is dead sleeps for so long at least and at most before the DLQ is asked again.
pub const DLQ_AGAIN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(300));

/// RabbitMQ's own stamp of when it received a message: <https://www.rabbitmq.com/docs/message-interceptors>.
const TIMESTAMP_IN_MS: &str = "timestamp_in_ms";

impl Rules {
    /// From a checked configuration, whose patterns are known to compile.
    pub fn new(
        config: &Config,
        retry_exchange: String,
        frame_max_bytes: usize,
    ) -> Result<Self, regex::Error> {
        let max_delay = config.topology.max_delay;
        let least = DLQ_AGAIN.0.max(config.topology.unit * 2);
        Ok(Self {
            authority: Authority::new(config)?,
            backoff: Backoff::new(&config.attempts),
            policies: Policies::of(config)?,
            bounds: Bounds { max_delay, max_past: config.schedule.max_past },
            max_rounds: config.schedule.max_rounds,
            reads_keys: config.commands.enabled,
            trust_broker_timestamp: config.schedule.trust_broker_timestamp,
            dlq_again: (least, DLQ_AGAIN.1.min(max_delay).max(least)),
            retry_exchange,
            frame_max_bytes,
        })
    }

    /// The retry policies that it judges by.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Takes in what a client published to `delay`, and sets when it is due. `expired_in` is its intake
    /// queue, if it expired there; `id` becomes its own.
    ///
    /// Errors: why it will never be due.
    pub fn accept(
        &self,
        message: Message,
        delay: &DelayExchange,
        expired_in: Option<&str>,
        id: String,
        now: UnixMs,
    ) -> (DelayedMessage, Result<(), Cause>) {
        let rounds = Rounds::of(&message, &delay.name, expired_in);
        let key = self.key_of(&message);
        let mut delayed =
            DelayedMessage::accept(message, &delay.target_exchange, id, now, expired_in);
        delayed.stamp.rounds = rounds.count;
        let scheduled = key.and_then(|key| {
            delayed.stamp.key = key;
            self.schedule(&mut delayed, rounds, now)
        });
        (delayed, scheduled)
    }

    /// The key that a client gave it, if keys count. Which log is there, only the worker knows.
    fn key_of(&self, message: &Message) -> Result<Option<StampedKey>, Cause> {
        if !self.reads_keys {
            return Ok(None);
        }
        let key = Key::in_headers(&message.properties.headers);
        let key = key.map_err(|fault| Cause::new(Reason::MalformedKey, fault))?;
        Ok(key.map(|key| StampedKey { key, log: 0, generation: None, moved: None }))
    }

    fn schedule(
        &self,
        delayed: &mut DelayedMessage,
        rounds: Rounds,
        now: UnixMs,
    ) -> Result<(), Cause> {
        let from = self.counted_from(delayed.headers(), now);
        delayed.schedule(delay::read(delayed.headers(), from, now, self.bounds)?);
        self.check_entry(delayed)?;
        self.end_of_rounds(rounds)
    }

    /// Takes in what a client's queue dead-lettered, and sets when it is brought back: after the pause that
    /// is returned. `id` is for one that has none yet; `chance` in 0..1 moves the pause.
    ///
    /// Errors: why it is not brought back.
    pub fn judge(
        &self,
        message: Message,
        id: String,
        now: UnixMs,
        chance: f64,
    ) -> (DelayedMessage, Result<Duration, Cause>) {
        match death::newest(&message, &self.retry_exchange) {
            Ok(death) => {
                let mut delayed = DelayedMessage::take_back(message, &death, id, now);
                let brought_back = self.bring_back(&mut delayed, &death, now, chance);
                (delayed, brought_back)
            }
            Err(fault) => (DelayedMessage::accept(message, "", id, now, None), Err(fault.into())),
        }
    }

    fn bring_back(
        &self,
        delayed: &mut DelayedMessage,
        death: &Death,
        now: UnixMs,
        chance: f64,
    ) -> Result<Duration, Cause> {
        self.check_entry(delayed)?;
        if death.is_left_over() {
            return Err(left_over(death));
        }
        let retry_state = delayed.stamp.retry_state.as_ref().expect("it was taken back");
        let policy = self.policies.of_queue(&death.queue);
        let pause = policy.judge(death.reason, retry_state, now, chance)?;
        delayed.bring_back_at(now.plus(pause));
        Ok(pause)
    }

    /// What a failed delivery becomes: another attempt after this pause, or none. `chance` in 0..1 moves it.
    pub fn next_attempt(
        &self,
        delayed: &DelayedMessage,
        reason: Reason,
        chance: f64,
    ) -> Option<Duration> {
        let retry_state = delayed.stamp.retry_state.as_ref();
        if reason == Reason::Nacked
            && retry_state.is_some_and(|retry_state| retry_state.found_no_room())
        {
            return None;
        }
        self.backoff.pause(delayed.stamp.attempt, reason, chance)
    }

    /// Puts a dead one to sleep until the DLQ may have room: for long enough that it takes no place in the
    /// hold. `chance` in 0..1 spreads those that died together. False: it does not sleep, as the levels refused
    /// it before.
    pub fn put_off(&self, delayed: &mut DelayedMessage, now: UnixMs, chance: f64) -> bool {
        let failure = delayed.stamp.failure.as_ref();
        let sleeps = failure.is_none_or(|failure| failure.reason != Reason::RefusedInside);
        if sleeps {
            delayed.wait_for_dlq(now, self.dlq_again, chance);
        }
        sleeps
    }

    /// Errors: it may not go where its stamp says. Asked again at delivery, as others may have stamped it.
    pub fn check_target(&self, delayed: &DelayedMessage) -> Result<(), Cause> {
        Ok(self.authority.check_delayed(delayed)?)
    }

    /// Errors: an answer may not be sent to this queue.
    pub fn check_reply(&self, queue: &str) -> Result<(), Refusal> {
        let is_direct =
            queue.strip_prefix(DIRECT_REPLY_TO).is_some_and(|rest| rest.starts_with('.'));
        if is_direct { Ok(()) } else { self.authority.check_queue(queue) }
    }

    /// Errors: it is not taken in, wherever it comes from.
    fn check_entry(&self, delayed: &DelayedMessage) -> Result<(), Cause> {
        self.authority.check_entry(delayed)?;
        let bytes = self.frame_max_bytes;
        if delayed.fits_frame(bytes) {
            return Ok(());
        }
        let detail =
            format!("the headers leave no room for Dormouse's in a frame of {bytes} bytes");
        Err(Cause { reason: Reason::HeadersTooLarge, detail })
    }

    /// Errors: it came back from its target without a client, and is not taken in again.
    fn end_of_rounds(&self, rounds: Rounds) -> Result<(), Cause> {
        const REMEDY: &str =
            "the dead-letter exchange for what is to come back later is the retry exchange";
        let max = self.max_rounds;
        let what = if rounds.found_no_room {
            "its target was full, and dead-lettered it to this delay exchange".to_owned()
        } else if rounds.count > max {
            format!(
                "it came back to this delay exchange {max} times without a client (schedule.max_rounds)"
            )
        } else {
            return Ok(());
        };
        let detail = format!("{what}; {REMEDY}, {}", self.retry_exchange);
        Err(Cause { reason: Reason::DeadLetterLoop, detail })
    }

    /// When a relative delay begins: now, or when RabbitMQ received the message, if the operator says
    /// that the broker sets that header itself. A value out of bounds is somebody's stale copy.
    fn counted_from(&self, headers: &Headers, now: UnixMs) -> UnixMs {
        const AHEAD: Duration = Duration::from_secs(1);
        let received = headers.get(TIMESTAMP_IN_MS).filter(|_| self.trust_broker_timestamp);
        let received = received.and_then(received_ms).map(UnixMs);
        let oldest = now.minus(self.bounds.max_delay);
        received.filter(|received| (oldest..=now.plus(AHEAD)).contains(received)).unwrap_or(now)
    }
}

fn received_ms(value: &Value) -> Option<u64> {
    as_integer(value).and_then(|ms| u64::try_from(ms).ok())
}

/// What to say of a copy that a full queue dead-lettered of an attempt that it also refused.
fn left_over(death: &Death) -> Cause {
    let Death { queue, attempt, .. } = death;
    let detail = format!(
        "queue {queue:?} was full at attempt {attempt} to deliver it; this copy is left over, as the \
         attempts go on. With overflow = reject-publish instead of reject-publish-dlx there is none"
    );
    Cause { reason: Reason::Maxlen, detail }
}

impl From<DelayFault> for Cause {
    fn from(fault: DelayFault) -> Self {
        let reason = match fault {
            DelayFault::Malformed { .. } | DelayFault::LongPast { .. } => Reason::MalformedDelay,
            DelayFault::TooLong { .. } => Reason::DelayTooLong,
        };
        Self::new(reason, fault)
    }
}

impl From<DeathFault> for Cause {
    fn from(fault: DeathFault) -> Self {
        Self::new(Reason::NotDeadLettered, fault)
    }
}

impl From<Refusal> for Cause {
    fn from(refusal: Refusal) -> Self {
        Self::new(Reason::TargetNotAllowed, refusal)
    }
}
