//! Delivery: holds what is due within a unit, publishes it to its target at its millisecond, and
//! acks it when the target has confirmed. What fails goes back through the cascade, then to the DLQ.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::cascade_publisher::CascadePublisher;
use super::clock_watch::{ClockWatch, LOOK, Stepped};
use super::consume_loop::TOGETHER;
use super::events::Event;
use super::in_flight::{InFlight, InternalPublish, InternalQueue};
use super::keyed_hold::{KeyedHold, Woken};
use super::target_publish::TargetPublish;
use super::target_publisher::{Settled, TargetPublisher};
use super::tell::Tell;
use super::{Hold, RateLimiter, Shared};
use crate::amqp::{AmqpError, Connection, Consumer, Delivered};
use crate::schedule::delayed_message::is_set_by_broker;
use crate::schedule::{Cause, DelayedMessage, Reason, UnixMs, death};
use crate::topology::wait_ttl;
use dormouse_broker::precise_timer::PreciseTimer;

pub struct Delivery {
    shared: Arc<Shared>,
    consumer: Consumer,
    hold: Hold<InFlight>,
    /// Of those with a key, if commands are on.
    keyed: Option<KeyedHold>,
    timer: PreciseTimer,
    held_bytes: u64,
    targets: TargetPublisher,
    cascade: CascadePublisher,
    clock_watch: ClockWatch,
    told_of_early_wakes: Tell,
    told_of_waiting: Tell,
    /// Turns of what is overdue.
    overdue: RateLimiter,
}

/// So soon after an alarm what came due goes on.
const LOOK_WHILE_BLOCKED: Duration = Duration::from_millis(20);

/// Later than this is a downtime's work, and not a busy moment's.
const OVERDUE: Duration = Duration::from_secs(5);

/// Later than this out of the levels is no noise of the broker's.
const LATE: Duration = Duration::from_secs(1);

/// Prefetch for the due queues of other topology versions, which only run dry.
const OLD_VERSION_PREFETCH: u16 = 1_000;

/// Never, if there is nothing with a key.
async fn changed(keyed: &Option<KeyedHold>) {
    match keyed {
        Some(keyed) if keyed.len() > 0 => keyed.changed().await,
        Some(_) | None => std::future::pending().await,
    }
}

/// Whether the exchange that leads back to a queue failed, and not the queue.
fn is_off_the_way(publish: &TargetPublish, reason: Reason) -> bool {
    let by_exchange =
        matches!(reason, Reason::Unroutable | Reason::ExchangeNotFound | Reason::AccessRefused);
    publish.back.is_some() && by_exchange
}

impl Delivery {
    /// Consumes the due queues of all `versions` that stand on the broker.
    pub async fn open(
        shared: Arc<Shared>,
        consuming: &Arc<Connection>,
        publishing: &Arc<Connection>,
        versions: &[u32],
    ) -> Result<Self, AmqpError> {
        let cascade = CascadePublisher::open(shared.clone(), publishing).await?;
        let targets = TargetPublisher::open(shared.clone(), publishing.clone()).await?;
        let mut consumer = Consumer::open_bounded(consuming, shared.config.hold.max_bytes).await?;
        consumer.keep_headers(|name| !is_set_by_broker(name));
        let max_messages = shared.config.hold.max_messages;
        let (due, spread) = (shared.names().due(), shared.channels.spread);
        consumer.consume_spread(consuming.clone(), &due, max_messages, spread).await?;
        for version in versions.iter().filter(|version| **version != shared.names().version()) {
            let prefetch = max_messages.min(OLD_VERSION_PREFETCH);
            let due = shared.names().in_version(*version).due();
            // a drain deletes it when it is empty
            consumer.consume_while_it_stands(&due, prefetch).await?;
        }
        let clock_watch = ClockWatch::new(shared.clock.now(), Instant::now());
        let hold = Hold::default();
        let keyed = shared.control.clone().map(KeyedHold::new);
        let overdue = RateLimiter::new(shared.config.delivery.overdue_rate);
        Ok(Self {
            shared,
            consumer,
            hold,
            keyed,
            timer: PreciseTimer::open(),
            held_bytes: 0,
            targets,
            cascade,
            clock_watch,
            told_of_early_wakes: Tell::default(),
            told_of_waiting: Tell::default(),
            overdue,
        })
    }

    /// Runs until `stop`, then until what is in flight is settled. What is still held is dropped:
    /// the broker requeues it for the next worker.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AmqpError> {
        let mut stopping = false;
        while !(stopping && self.targets.outstanding() + self.cascade.outstanding() == 0) {
            let wake = self.next_wake();
            let acks_at = self.consumer.acks_at();
            tokio::select! {
                biased;
                settled = self.targets.settled() => {
                    self.targets.mend().await?;
                    self.settle(settled, stopping);
                }
                done = self.cascade.settled() => {
                    self.cascade.mend(&mut self.consumer).await?;
                    done.into_iter().for_each(|publish| self.done(publish));
                }
                () = self.timer.at(wake), if !stopping => {}
                () = changed(&self.keyed), if !stopping => {}
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
                self.targets.mend().await?;
            }
            if !stopping {
                self.release();
                self.release_keyed();
                self.relieve();
            }
            self.consumer.tend().await?;
            self.measure();
        }
        self.consumer.finish().await
    }

    /// When to release the next one, and within a second in any case.
    fn next_wake(&self) -> Instant {
        let room = self.targets.has_room();
        let keyed = self.keyed.as_ref().and_then(|keyed| keyed.tend(self.shared.clock.now()));
        let due = [self.hold.next_due(), keyed].into_iter().flatten().min().filter(|_| room);
        let left = due.map(|due| self.shared.clock.until(due));
        let look = if self.targets.is_blocked() { LOOK_WHILE_BLOCKED } else { LOOK };
        Instant::now() + left.unwrap_or(look).min(look)
    }

    fn take(&mut self, Delivered { tag, message, .. }: Delivered) {
        let now = self.shared.clock.now();
        let left_levels = death::left_levels(&message.properties.headers);
        let message = match self.shared.dispatch.read(message) {
            Ok(message) => message,
            Err(message) => return self.send(InFlight::new(tag, message), InternalQueue::Dlq),
        };
        let mut from = InFlight::new(tag, message);
        let message = &mut from.message;
        if self.shared.with_log(message, InternalQueue::Levels) == InternalQueue::Wait
            && !message.stamp.waits_for_dlq
        {
            return self.send(from, InternalQueue::Wait);
        }
        if message.stamp.waits_for_dlq {
            // it has slept because the DLQ refused it
            message.wake_for_dlq();
            return self.send(from, InternalQueue::Dlq);
        }
        if self.shared.dispatch.cascade.woke_early(message, now) {
            let told = self.told_of_early_wakes.due();
            self.shared.events().note(message, Event::WokeEarly { told });
            return self.send(from, InternalQueue::Levels);
        }
        let wake_at = message.stamp.wake_at();
        // late already when it left the levels, and not only here
        let tolerated = wake_at.plus(LATE);
        if left_levels.is_some_and(|left| left > tolerated && now > tolerated) {
            self.shared.signals.may_be_late.notify_one();
        }
        if now > wake_at.plus(OVERDUE) {
            return self.take_turn(from, now);
        }
        self.keep(wake_at, from);
    }

    fn keep(&mut self, until: UnixMs, from: InFlight) {
        self.held_bytes += from.message.body_bytes() as u64;
        match &mut self.keyed {
            Some(keyed) if from.message.stamp.key.is_some() => {
                keyed.insert(until, from, self.shared.clock.now());
            }
            Some(_) | None => self.hold.insert(until, from),
        }
    }

    /// What is overdue goes at its rate, so that a target is not flooded after a downtime. What has to
    /// wait longer than the hold may keep it sleeps once more, and then goes at its turn.
    fn take_turn(&mut self, mut from: InFlight, now: UnixMs) {
        let wait = self.overdue.take(Instant::now());
        if wait > self.shared.dispatch.cascade.layout().unit() {
            from.message.postpone(now.plus(wait));
            self.send(from, InternalQueue::Levels);
        } else {
            self.keep(now.plus(wait), from);
        }
    }

    /// Publishes what is due, as far as the window allows.
    fn release(&mut self) {
        while self.targets.has_room() {
            let now = self.shared.clock.now();
            let Some(from) = self.hold.pop_due(now) else { return };
            self.held_bytes -= from.message.body_bytes() as u64;
            self.attempt(from, now);
        }
    }

    /// The same of those with a key, as far as control lets them go.
    fn release_keyed(&mut self) {
        while let Some(keyed) = &mut self.keyed
            && self.targets.has_room()
        {
            let now = self.shared.clock.now();
            let Some(woken) = keyed.pop(now) else { return };
            let (Woken::Release(from)
            | Woken::Drop(from, _)
            | Woken::SleepAgain(from, _)
            | Woken::GoRound(from, _)) = &woken;
            self.held_bytes -= from.message.body_bytes() as u64;
            match woken {
                Woken::Release(from) => self.attempt(from, now),
                Woken::Drop(from, cause) => {
                    self.shared.events().note(&from.message, Event::Dropped { cause });
                    self.ack(from.tag);
                }
                Woken::SleepAgain(mut from, until) => {
                    self.shared.events().note(&from.message, Event::Rescheduled { until });
                    from.message.reschedule(until);
                    self.send(from, InternalQueue::Levels);
                }
                Woken::GoRound(from, wait) => {
                    let told = self.told_of_waiting.due();
                    self.shared.events().note(&from.message, Event::Waits { wait, told });
                    self.send(from, InternalQueue::Wait);
                }
            }
        }
    }

    fn attempt(&mut self, from: InFlight, now: UnixMs) {
        let message = &from.message;
        if let Err(cause) = self.shared.dispatch.rules.check_target(message) {
            return self.fail(from, cause);
        }
        self.shared.events().note(message, Event::Released { now });
        self.targets.send(TargetPublish {
            back: self.back(message),
            sent: Instant::now(),
            alone: self.shared.size_limit.is_below(message),
            shared: false,
            from,
        });
    }

    /// The exchange that leads back to a message's queue, if it goes back to one.
    fn back(&self, message: &DelayedMessage) -> Option<String> {
        let queue = &message.stamp.retry_state.as_ref()?.queue;
        let is_usable = self.shared.retry_routes().is_usable(queue, Instant::now());
        self.shared.names().back(queue).filter(|_| is_usable)
    }

    /// A full hold puts back what is due last, so that what is due sooner can be seen. It comes back
    /// after the wait queue's TTL; what is due before that stays.
    fn relieve(&mut self) {
        if !self.consumer.is_full() {
            return;
        }
        let layout = self.shared.dispatch.cascade.layout();
        let wait = wait_ttl(layout.unit()) + layout.margin();
        let after = self.shared.clock.now().plus(wait);
        // a part at a time: enough to keep the broker sending, few enough to keep the soonest
        let part = (self.consumer.unacked() / 4).max(1);
        for _ in self.cascade.outstanding()..part {
            let Some(from) = self.pop_last(after) else { return };
            self.held_bytes -= from.message.body_bytes() as u64;
            self.shared.events().note(&from.message, Event::PutBack);
            self.send(from, InternalQueue::Wait);
        }
    }

    /// Of both holds; before all others what cannot go for another reason than its time.
    fn pop_last(&mut self, after: UnixMs) -> Option<InFlight> {
        match &mut self.keyed {
            None => self.hold.pop_last(after),
            Some(keyed) => keyed.pop_waiting().or_else(|| {
                if keyed.last_due() > self.hold.last_due() {
                    keyed.pop_last(after)
                } else {
                    self.hold.pop_last(after)
                }
            }),
        }
    }

    fn settle(&mut self, settled: Vec<Settled>, stopping: bool) {
        for (publish, cause) in settled {
            match cause {
                None => self.delivered(publish),
                Some(cause) if is_off_the_way(&publish, cause.reason) => {
                    self.go_by_default(publish)
                }
                // when stopping, what was never published is left to the broker
                Some(Cause { reason: Reason::TimedOut, .. }) if stopping => drop(publish),
                Some(cause) => self.fail(publish.from, cause),
            }
        }
    }

    fn delivered(&mut self, TargetPublish { from, back, sent, .. }: TargetPublish) {
        let InFlight { tag, message } = from;
        if let (Some(_), Some(retry_state)) = (&back, &message.stamp.retry_state) {
            self.shared.retry_routes().leads_on(&retry_state.queue);
        }
        self.shared.events().note(&message, Event::Delivered { took: sent.elapsed() });
        self.ack(tag);
    }

    /// The exchange that leads back to the queue is not there, or not bound: the default exchange
    /// delivers to the queue all the same, if there is one. It is the same attempt.
    fn go_by_default(&mut self, mut publish: TargetPublish) {
        if let Some(retry_state) = &publish.from.message.stamp.retry_state {
            self.shared.retry_routes().lost(&retry_state.queue);
        }
        publish.back = None;
        self.targets.send(publish);
    }

    /// Another attempt after a pause, or the DLQ.
    fn fail(&mut self, mut from: InFlight, cause: Cause) {
        self.shared.size_limit.refused(&from.message, &cause.detail);
        let to = self.shared.dispatch.fail(&mut from.message, cause);
        self.send(from, to);
    }

    fn send(&mut self, from: InFlight, to: InternalQueue) {
        self.cascade.send(InternalPublish { from, to });
    }

    fn done(&mut self, InternalPublish { from: InFlight { tag, message }, to }: InternalPublish) {
        if to == InternalQueue::Dlq {
            self.shared.events().note(&message, Event::Dead);
        }
        self.ack(tag);
    }

    fn ack(&mut self, tag: u64) {
        self.consumer.settle(tag);
    }

    /// Looks at what no event tells, once in a while.
    fn look(&mut self) -> bool {
        let now = Instant::now();
        let Some(stepped) = self.clock_watch.look(self.shared.clock.now(), now) else {
            return false;
        };
        // what is held follows by itself, what sleeps does not
        if stepped == Stepped::FarAhead {
            self.shared.signals.stepped_ahead.notify_one();
        }
        self.targets.look(now);
        self.keyed.iter_mut().for_each(KeyedHold::look);
        true
    }

    fn measure(&self) {
        let gauges = &self.shared.gauges;
        let keyed = self.keyed.as_ref().map_or(0, KeyedHold::len);
        if let (Some(keyed), Some(control)) = (&self.keyed, &self.shared.control) {
            control.gauges.waiting.set(keyed.waiting() as f64);
        }
        gauges.held_messages.set((self.hold.len() + keyed) as f64);
        gauges.held_bytes.set(self.held_bytes as f64);
        gauges.unconfirmed.set(self.targets.outstanding() as f64);
    }
}
