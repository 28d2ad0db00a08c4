//! Intake: reads what was published to the delay exchanges, fixes when it is due, and puts it into
//! the cascade. A delivery is acked when the cascade has confirmed what replaces it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::Shared;
use super::inlet::{Event, Inlet};
use super::inward::{Errand, Inward, To};
use super::tell::Tell;
use crate::amqp::{AmqpError, Connection, Consumer, Delivered};
use crate::config::DelayExchange;
use crate::message::{Headers, Message, Value, as_integer};
use crate::schedule::delay::{self, Bounds, DelayFault};
use crate::schedule::sleeper::unstamped;
use crate::schedule::{Reason, Rounds, Sleeper, UnixMs, headers};

/// Where a consumed queue's messages come from.
enum Source {
    /// A client, through this delay exchange.
    Delay(DelayExchange),
    /// The same, but it expired in this intake queue first.
    Expired(DelayExchange, String),
    /// The cascade, which found no queue for it.
    Parking,
}

pub struct Intake {
    shared: Arc<Shared>,
    sources: Vec<Source>,
    inlet: Inlet,
    told_of_parked: Tell,
}

/// Parked messages taken at a time: they are rare, and each waits a second before its next try.
pub(super) const PARKING_PREFETCH: u16 = 100;

/// RabbitMQ's own stamp of when it received a message: <https://www.rabbitmq.com/docs/message-interceptors>.
const TIMESTAMP_IN_MS: &str = "timestamp_in_ms";

impl Intake {
    pub async fn open(
        shared: Arc<Shared>,
        consuming: &Connection,
        publishing: &Arc<Connection>,
    ) -> Result<Self, AmqpError> {
        let inward = Inward::open(shared.clone(), publishing).await?;
        let mut consumer = Consumer::open_bounded(consuming, shared.config.hold.max_bytes).await?;
        let mut sources = Vec::new();
        let prefetch = shared.config.intake.prefetch;
        for delay in &shared.config.delay_exchanges {
            let queue = shared.names.intake(delay);
            consumer.consume(&queue, prefetch).await?;
            sources.push(Source::Delay(delay.clone()));
            consumer.consume(&shared.names.expired(delay), prefetch).await?;
            sources.push(Source::Expired(delay.clone(), queue));
        }
        consumer.consume(&shared.names.parking(), PARKING_PREFETCH).await?;
        sources.push(Source::Parking);
        let inlet = Inlet::new(consumer, inward);
        Ok(Self { shared, sources, inlet, told_of_parked: Tell::default() })
    }

    /// Runs until `stop`, then until what is in flight is confirmed.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AmqpError> {
        while let Some(event) = self.inlet.next(&stop).await? {
            match event {
                Event::Delivered(together) => {
                    together.into_iter().for_each(|delivered| self.take(delivered));
                }
                Event::Done(done) => {
                    done.iter().for_each(|errand| self.shared.count(&errand.sleeper, errand.to));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, Delivered { tag, queue, message, .. }: Delivered) {
        let (sleeper, to) = match &self.sources[queue] {
            Source::Delay(delay) => self.shared.accept(message, delay, None),
            Source::Expired(delay, intake) => self.shared.accept(message, delay, Some(intake)),
            Source::Parking => return self.unpark(tag, message),
        };
        self.inlet.send(Errand { sleeper, tag, to });
    }

    /// A parked message found no queue in the cascade: the topology is declared again and the message
    /// planned again, after a pause, so that a hole that stays does not spin.
    fn unpark(&mut self, tag: u64, message: Message) {
        self.shared.metrics.parked.increment(1);
        self.shared.heal.notify_one();
        let was_dead = message.properties.headers.contains_key(headers::EXCHANGE);
        if message.exchange == self.shared.names.retry() {
            // dead-lettered by a client's queue, and found no queue of ours
            let (sleeper, to) = self.shared.judge(message);
            return self.inlet.send_later(Errand { sleeper, tag, to });
        }
        let delays = &self.shared.config.delay_exchanges;
        if let Some(delay) = delays.iter().find(|delay| delay.name == message.exchange) {
            // published while neither the delay exchange nor its alternate exchange was bound
            let (sleeper, to) = self.shared.accept(message, delay, None);
            return self.inlet.send_later(Errand { sleeper, tag, to });
        }
        let now = self.shared.clock.now();
        let (sleeper, to) = match Sleeper::read(message) {
            Ok(sleeper) if was_dead => (sleeper, To::Dlq),
            Ok(sleeper) => (sleeper, To::Levels),
            Err((fault, message)) => {
                (unstamped(message, &fault, Uuid::now_v7().to_string(), now), To::Dlq)
            }
        };
        let id = &sleeper.stamp.id;
        debug!(id, "was parked");
        if let Some(times) = self.told_of_parked.due() {
            warn!(
                times,
                id, "a message was parked: an exchange of ours lacks a binding or a queue"
            );
        }
        self.inlet.send_later(Errand { sleeper, tag, to });
    }
}

impl Shared {
    /// Takes up what a client published: when it is due, or why it never will be. `expired_in` is its
    /// intake queue, if it expired there.
    pub(super) fn accept(
        &self,
        message: Message,
        delay: &DelayExchange,
        expired_in: Option<&str>,
    ) -> (Sleeper, To) {
        let now = self.clock.now();
        let id = Uuid::now_v7().to_string();
        let rounds = Rounds::of(&message, &delay.name, expired_in);
        let mut sleeper = Sleeper::accept(message, &delay.target_exchange, id, now, expired_in);
        sleeper.stamp.rounds = rounds.count;
        let bounds = Bounds {
            max_delay: self.config.topology.max_delay,
            max_past: self.config.schedule.max_past,
        };
        let refused = match delay::read(
            sleeper.headers(),
            self.counted_from(sleeper.headers(), now),
            now,
            bounds,
        ) {
            Ok(due) => {
                sleeper.schedule(due);
                self.refuse(&sleeper).or_else(|| self.end_of_rounds(rounds))
            }
            Err(fault @ (DelayFault::Malformed { .. } | DelayFault::LongPast { .. })) => {
                Some((Reason::MalformedDelay, fault.to_string()))
            }
            Err(fault @ DelayFault::TooLong { .. }) => {
                Some((Reason::DelayTooLong, fault.to_string()))
            }
        };
        let Some((reason, detail)) = refused else { return (sleeper, To::Levels) };
        self.fail(&mut sleeper, reason, detail);
        (sleeper, To::Dlq)
    }

    fn refuse(&self, sleeper: &Sleeper) -> Option<(Reason, String)> {
        if let Err(refusal) = self.authority.check_entry(sleeper) {
            return Some((Reason::TargetNotAllowed, refusal.to_string()));
        }
        if !sleeper.fits_frame(self.frame_max_bytes) {
            return Some((Reason::HeadersTooLarge, self.no_room()));
        }
        None
    }

    /// Why a message is not taken in again that came back from its target without a client.
    fn end_of_rounds(&self, rounds: Rounds) -> Option<(Reason, String)> {
        const REMEDY: &str =
            "the dead-letter exchange for what is to come back later is the retry exchange";
        let max = self.config.schedule.max_rounds;
        let what = if rounds.found_no_room {
            "its target was full, and dead-lettered it to this delay exchange".to_owned()
        } else if rounds.count > max {
            format!(
                "it came back to this delay exchange {max} times without a client (schedule.max_rounds)"
            )
        } else {
            return None;
        };
        Some((Reason::DeadLetterLoop, format!("{what}; {REMEDY}, {}", self.names.retry())))
    }

    /// When a relative delay begins: now, or when RabbitMQ received the message, if the operator says
    /// that the broker sets that header itself. A value out of bounds is somebody's stale copy.
    fn counted_from(&self, headers: &Headers, now: UnixMs) -> UnixMs {
        const AHEAD: Duration = Duration::from_secs(1);
        let received =
            headers.get(TIMESTAMP_IN_MS).filter(|_| self.config.schedule.trust_broker_timestamp);
        let received = received.and_then(received_ms).map(UnixMs);
        let oldest = now.minus(self.config.topology.max_delay);
        received.filter(|received| (oldest..=now.plus(AHEAD)).contains(received)).unwrap_or(now)
    }
}

fn received_ms(value: &Value) -> Option<u64> {
    as_integer(value).and_then(|ms| u64::try_from(ms).ok())
}
