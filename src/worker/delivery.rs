//! Delivery: holds what is due within a unit, publishes it to its target at its millisecond, and
//! acks it when the target has confirmed. What fails goes back through the cascade, then to the DLQ.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::inlet::TOGETHER;
use super::inward::{Errand, Inward, To};
use super::lanes::{Delivery as Settled, Lanes};
use super::target_publish::Parcel;
use super::{Hold, Pace, Shared};
use crate::amqp::{AmqpError, Connection, Consumer, Delivered};
use crate::schedule::comeback::Comeback;
use crate::schedule::sleeper::{is_set_by_broker, unstamped};
use crate::schedule::{Reason, Sleeper, Stamp, Target, UnixMs, death};
use crate::topology::wait_ttl;
use dormouse_broker::precise_timer::PreciseTimer;

pub struct Delivery {
    shared: Arc<Shared>,
    consumer: Consumer,
    hold: Hold<Held>,
    timer: PreciseTimer,
    held_bytes: u64,
    lanes: Lanes,
    inward: Inward,
    last_look: Look,
    told_of_early_wakes: Option<Instant>,
    /// Turns of what is overdue.
    overdue: Pace,
}

struct Held {
    sleeper: Sleeper,
    tag: u64,
}

/// One look at both clocks, to notice steps of the wall clock.
#[derive(Clone, Copy)]
struct Look {
    wall: UnixMs,
    monotonic: Instant,
}

/// The wall clock is looked at this often, whatever the timers say.
const LOOK: Duration = Duration::from_secs(1);

/// So soon after an alarm what came due goes on.
const LOOK_WHILE_BLOCKED: Duration = Duration::from_millis(20);

/// A difference between the clocks that counts as a step and not as noise.
const STEP: Duration = Duration::from_millis(250);

/// A step ahead of so much makes it worth to plan again what sleeps.
const WORTH_A_SWEEP: Duration = Duration::from_millis(500);

/// Later than this is a downtime's work, and not a busy moment's.
const OVERDUE: Duration = Duration::from_secs(5);

/// Later than this out of the levels is no noise of the broker's.
const LATE: Duration = Duration::from_secs(1);

/// Pause between two lines of the log about the same trouble.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Prefetch for the due queues of other topology versions, which only run dry.
const OLD_VERSION_PREFETCH: u16 = 1_000;

fn is_off_the_way(parcel: &Parcel, reason: Reason) -> bool {
    let by_exchange =
        matches!(reason, Reason::Unroutable | Reason::ExchangeNotFound | Reason::AccessRefused);
    parcel.back.is_some() && by_exchange
}

impl Delivery {
    /// Consumes the due queues of all `versions` that stand on the broker.
    pub async fn open(
        shared: Arc<Shared>,
        consuming: &Arc<Connection>,
        publishing: &Arc<Connection>,
        versions: &[u32],
    ) -> Result<Self, AmqpError> {
        let inward = Inward::open(shared.clone(), publishing).await?;
        let lanes = Lanes::open(shared.clone(), publishing.clone()).await?;
        let mut consumer = Consumer::open_bounded(consuming, shared.config.hold.max_bytes).await?;
        consumer.keep_headers(|name| !is_set_by_broker(name));
        let max_messages = shared.config.hold.max_messages;
        let (due, spread) = (shared.names.due(), shared.channels.spread);
        consumer.consume_spread(consuming.clone(), &due, max_messages, spread).await?;
        for version in versions.iter().filter(|version| **version != shared.names.version()) {
            let prefetch = max_messages.min(OLD_VERSION_PREFETCH);
            let due = shared.names.in_version(*version).due();
            // a drain deletes it when it is empty
            consumer.consume_while_it_stands(&due, prefetch).await?;
        }
        let last_look = Look { wall: shared.clock.now(), monotonic: Instant::now() };
        let hold = Hold::default();
        let overdue = Pace::new(shared.config.delivery.overdue_rate);
        Ok(Self {
            shared,
            consumer,
            hold,
            timer: PreciseTimer::open(),
            held_bytes: 0,
            lanes,
            inward,
            last_look,
            told_of_early_wakes: None,
            overdue,
        })
    }

    /// Runs until `stop`, then until what is in flight is settled. What is still held is dropped:
    /// the broker requeues it for the next worker.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AmqpError> {
        let mut stopping = false;
        while !(stopping && self.lanes.outstanding() + self.inward.outstanding() == 0) {
            let wake = self.next_wake();
            let acks_at = self.consumer.acks_at();
            tokio::select! {
                biased;
                settled = self.lanes.settled() => {
                    self.lanes.mend().await?;
                    self.settle(settled, stopping);
                }
                done = self.inward.settled() => {
                    self.inward.mend(&mut self.consumer).await?;
                    for errand in done {
                        self.done(errand);
                    }
                }
                () = self.timer.at(wake), if !stopping => {}
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.consumer.cancel().await?;
                }
                delivered = self.consumer.next_together(TOGETHER), if !stopping => {
                    delivered?.into_iter().for_each(|delivered| self.take(delivered));
                }
                () = sleep_until(acks_at.unwrap_or(wake).into()), if acks_at.is_some() => {}
            }
            if self.look() {
                self.lanes.mend().await?;
            }
            if !stopping {
                self.release();
                self.relieve();
            }
            self.consumer.tend().await?;
            self.measure();
        }
        self.consumer.finish().await
    }

    /// When to release the next one, and within a second in any case.
    fn next_wake(&self) -> Instant {
        let room = self.lanes.has_room();
        let due = self.hold.next_due().filter(|_| room);
        let left = due.map(|due| self.shared.clock.until(due));
        let look = if self.lanes.is_blocked() { LOOK_WHILE_BLOCKED } else { LOOK };
        Instant::now() + left.unwrap_or(look).min(look)
    }

    fn take(&mut self, Delivered { tag, message, .. }: Delivered) {
        let now = self.shared.clock.now();
        let left_levels = death::left_levels(&message.properties.headers);
        let sleeper = match Sleeper::read(message) {
            Ok(sleeper) => sleeper,
            Err((fault, message)) => {
                let sleeper = unstamped(message, &fault, Uuid::now_v7().to_string(), now);
                return self.send(Errand { sleeper, tag, to: To::Dlq });
            }
        };
        if sleeper.stamp.waits_for_dlq {
            return self.wake_for_dlq(sleeper, tag);
        }
        let plan = self.shared.layout.plan(sleeper.stamp.wake_at().since(now));
        // one unit more than planned is a slow clock; two are a changed layout, or a forced wake
        if plan.units >= 2 {
            self.shared.metrics.replanned.increment(1);
            self.tell_of_early_wakes();
            return self.send(Errand { sleeper, tag, to: To::Levels });
        }
        // late already when it left the levels, and not only here
        let tolerated = sleeper.stamp.wake_at().plus(LATE);
        if left_levels.is_some_and(|left| left > tolerated && now > tolerated) {
            self.shared.may_be_late.notify_one();
        }
        if now > sleeper.stamp.wake_at().plus(OVERDUE) {
            return self.take_turn(sleeper, tag, now);
        }
        self.keep(sleeper.stamp.wake_at(), sleeper, tag);
    }

    /// It has slept because the DLQ refused it.
    fn wake_for_dlq(&mut self, mut sleeper: Sleeper, tag: u64) {
        sleeper.wake_for_dlq();
        self.send(Errand { sleeper, tag, to: To::Dlq });
    }

    fn keep(&mut self, until: UnixMs, sleeper: Sleeper, tag: u64) {
        self.held_bytes += sleeper.body_bytes() as u64;
        self.hold.insert(until, Held { sleeper, tag });
    }

    /// What is overdue goes at its rate, so that a target is not flooded after a downtime. What has to
    /// wait longer than the hold may keep it sleeps once more, and then goes at its turn.
    fn take_turn(&mut self, mut sleeper: Sleeper, tag: u64, now: UnixMs) {
        let wait = self.overdue.take(Instant::now());
        if wait > self.shared.layout.unit() {
            sleeper.postpone(now.plus(wait));
            self.send(Errand { sleeper, tag, to: To::Levels });
        } else {
            self.keep(now.plus(wait), sleeper, tag);
        }
    }

    /// Once a minute, since they come by the thousand.
    fn tell_of_early_wakes(&mut self) {
        if self.told_of_early_wakes.is_none_or(|told| told.elapsed() > TELL_AGAIN) {
            self.told_of_early_wakes = Some(Instant::now());
            warn!(
                "messages wake much too early: a policy shortens TTLs, the levels were changed, or the \
                 clock went back; they are planned again (see `dormouse topology verify`)"
            );
        }
    }

    /// Publishes what is due, as far as the window allows.
    fn release(&mut self) {
        while self.lanes.has_room() {
            let now = self.shared.clock.now();
            let Some(Held { sleeper, tag }) = self.hold.pop_due(now) else { return };
            self.held_bytes -= sleeper.body_bytes() as u64;
            if let Err(refusal) = self.shared.authority.check_sleeper(&sleeper) {
                self.fail(sleeper, tag, Reason::TargetNotAllowed, refusal.to_string());
                continue;
            }
            let wake_at = sleeper.stamp.wake_at();
            if now < wake_at {
                self.shared.metrics.early.increment(1);
            }
            self.shared.metrics.lateness.record(now.since(wake_at).as_secs_f64());
            self.lanes.send(Parcel {
                back: self.back(&sleeper),
                tag,
                sent: Instant::now(),
                alone: self.shared.is_too_large(&sleeper),
                sleeper,
                shared: false,
            });
        }
    }

    /// The exchange that leads back to a message's queue, if it goes back to one.
    fn back(&self, sleeper: &Sleeper) -> Option<String> {
        let queue = &sleeper.stamp.comeback.as_ref()?.queue;
        let leads = self.shared.backs().leads(queue, Instant::now());
        self.shared.names.back(queue).filter(|_| leads)
    }

    /// A full hold puts back what is due last, so that what is due sooner can be seen. It comes back
    /// after the wait queue's TTL; what is due before that stays.
    fn relieve(&mut self) {
        if !self.consumer.is_full() {
            return;
        }
        let wait = wait_ttl(self.shared.layout.unit()) + self.shared.layout.margin();
        let after = self.shared.clock.now().plus(wait);
        // a part at a time: enough to keep the broker sending, few enough to keep the soonest
        let part = (self.consumer.unacked() / 4).max(1);
        for _ in self.inward.outstanding()..part {
            let Some(Held { sleeper, tag }) = self.hold.pop_last(after) else { return };
            self.held_bytes -= sleeper.body_bytes() as u64;
            self.shared.metrics.put_back.increment(1);
            self.inward.send(Errand { sleeper, tag, to: To::Wait });
        }
    }

    fn settle(&mut self, settled: Vec<Settled>, stopping: bool) {
        for delivery in settled {
            match delivery {
                Settled::Confirmed(parcel) => {
                    self.shared.metrics.delivered.increment(1);
                    if let (Some(_), Some(comeback)) =
                        (&parcel.back, &parcel.sleeper.stamp.comeback)
                    {
                        self.shared.backs().leads_on(&comeback.queue);
                    }
                    self.shared.metrics.confirm.record(parcel.sent.elapsed().as_secs_f64());
                    self.ack(parcel.tag);
                }
                Settled::Failed(parcel, reason, _) if is_off_the_way(&parcel, reason) => {
                    self.go_by_default(parcel)
                }
                // when stopping, a parcel that was never published is left to the broker
                Settled::Failed(parcel, Reason::TimedOut, _) if stopping => drop(parcel),
                Settled::Failed(parcel, reason, detail) => {
                    self.fail(parcel.sleeper, parcel.tag, reason, detail)
                }
            }
        }
    }

    /// The exchange that leads back to the queue is not there, or not bound: the default exchange
    /// delivers to the queue all the same, if there is one. It is the same attempt.
    fn go_by_default(&mut self, mut parcel: Parcel) {
        if let Some(comeback) = &parcel.sleeper.stamp.comeback {
            self.shared.backs().lost(&comeback.queue);
        }
        parcel.back = None;
        self.lanes.send(parcel);
    }

    /// Another attempt after a pause, or the DLQ.
    fn fail(&mut self, mut sleeper: Sleeper, tag: u64, reason: Reason, detail: String) {
        let metrics = &self.shared.metrics;
        metrics.attempt_failed(reason);
        if reason == Reason::Unroutable {
            metrics.returned.increment(1);
        }
        self.shared.note_size(&sleeper, &detail);
        let now = self.shared.clock.now();
        let attempt = sleeper.stamp.attempt;
        let pause = self.shared.backoff.pause(attempt, reason, fastrand::f64());
        let comeback = sleeper.stamp.comeback.as_ref();
        let no_room = reason == Reason::Nacked && comeback.is_some_and(Comeback::found_no_room);
        let pause = pause.filter(|_| !no_room);
        let to = match pause {
            Some(pause) => {
                let Stamp { id, target: Target { exchange, routing_key, .. }, .. } = &sleeper.stamp;
                debug!(id, %reason, attempt, ?pause, exchange, routing_key, detail, "delivery failed");
                sleeper.fail(reason, detail, now);
                sleeper.retry_at(now.plus(pause));
                To::Levels
            }
            None => {
                self.shared.fail(&mut sleeper, reason, detail);
                To::Dlq
            }
        };
        self.send(Errand { sleeper, tag, to });
    }

    fn send(&mut self, errand: Errand) {
        self.inward.send(errand);
    }

    fn done(&mut self, errand: Errand) {
        if let (To::Dlq, Some(failure)) = (errand.to, &errand.sleeper.stamp.failure) {
            self.shared.metrics.dead_lettered(failure.reason);
        }
        self.ack(errand.tag);
    }

    fn ack(&mut self, tag: u64) {
        self.consumer.settle(tag);
    }

    /// Compares the clocks, at least every second: due times are wall-clock times, and a step makes
    /// what is held due sooner or later than the timers thought.
    fn look(&mut self) -> bool {
        let look = Look { wall: self.shared.clock.now(), monotonic: Instant::now() };
        let passed = look.monotonic - self.last_look.monotonic;
        if passed < LOOK {
            return false;
        }
        let expected = self.last_look.wall.plus(passed);
        let step_ms = look.wall.0 as i64 - expected.0 as i64;
        if step_ms.unsigned_abs() > STEP.as_millis() as u64 {
            self.shared.metrics.clock_steps.increment(1);
            warn!(step_ms, "the wall clock was stepped; due times follow it");
            // what is held follows by itself, what sleeps does not
            if step_ms > WORTH_A_SWEEP.as_millis() as i64 {
                self.shared.stepped_ahead.notify_one();
            }
        }
        self.last_look = look;
        self.lanes.look(look.monotonic);
        true
    }

    fn measure(&self) {
        let metrics = &self.shared.metrics;
        metrics.held_messages.set(self.hold.len() as f64);
        metrics.held_bytes.set(self.held_bytes as f64);
        metrics.unconfirmed.set(self.lanes.outstanding() as f64);
    }
}
