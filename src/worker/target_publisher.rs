//! Publishes to targets: one shared channel for exchanges that are known to take messages, and a few
//! probe channels with one message each for those that are not known yet.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Shared;
use super::exchange_breaker::{ExchangeBreaker, Route};
use super::target_publish::{TargetPublish, cause_of, closed_over, timed_out};
use super::target_quota::TargetQuota;
use crate::amqp::{AmqpError, Closed, Connection, Freshness, Outcome, Publisher, Refused};
use crate::schedule::Cause;

/// A publish that is settled: why it failed, if it did.
pub type Settled = (TargetPublish, Option<Cause>);

pub struct TargetPublisher {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    main: Publisher<TargetPublish>,
    main_freshness: Freshness,
    /// Channels given up because too much on them was never confirmed, or because a queue refused there;
    /// they keep what somebody waits for until that is settled.
    retired: Vec<Publisher<TargetPublish>>,
    shares: TargetQuota<TargetPublish>,
    /// When an alarm was last seen to block the connection.
    blocked_at: Option<Instant>,
    probes: Vec<Probe>,
    targets: ExchangeBreaker<TargetPublish>,
    alone: VecDeque<TargetPublish>,
    settled: Vec<Settled>,
}

struct Probe {
    publisher: Publisher<TargetPublish>,
    freshness: Freshness,
    /// What is under test, see [`ExchangeBreaker::door`]; none for a publish that goes alone.
    door: Option<String>,
    since: Instant,
}

/// RabbitMQ closes a channel over a publish at once. A probe whose channel has stood this long has
/// passed, though its queue may still owe the confirm.
const PROBE_PASSED: Duration = Duration::from_secs(1);

impl TargetPublisher {
    pub async fn open(shared: Arc<Shared>, connection: Arc<Connection>) -> Result<Self, AmqpError> {
        let mut probes = Vec::with_capacity(shared.channels.probes);
        for _ in 0..shared.channels.probes {
            probes.push(Probe {
                publisher: connection.publisher().await?,
                freshness: Freshness::new(Instant::now()),
                door: None,
                since: Instant::now(),
            });
        }
        Ok(Self {
            main: connection.publisher().await?,
            main_freshness: Freshness::new(Instant::now()),
            retired: Vec::new(),
            shares: TargetQuota::new(usize::from(shared.config.delivery.window) / 2),
            blocked_at: None,
            targets: ExchangeBreaker::new(shared.config.delivery.avoid_failed_exchange),
            alone: VecDeque::new(),
            settled: Vec::new(),
            shared,
            connection,
            probes,
        })
    }

    /// Whether another publish may be sent. None while an alarm blocks the connection: what is due stays held, so
    /// that it is still here and nowhere else if the session ends before the alarm does.
    pub fn has_room(&self) -> bool {
        !self.is_blocked() && self.main.len() < usize::from(self.shared.config.delivery.window)
    }

    /// Whether an alarm stops publishes.
    pub fn is_blocked(&self) -> bool {
        self.connection.is_blocked()
    }

    /// Publishes without a confirm yet.
    pub fn outstanding(&self) -> usize {
        let probes = self.probes.iter().map(|probe| &probe.publisher);
        probes.chain(&self.retired).map(Publisher::len).sum::<usize>() + self.main.len()
    }

    pub fn send(&mut self, publish: TargetPublish) {
        if publish.alone {
            self.alone.push_back(publish);
        } else {
            self.route(publish);
        }
        self.start_probes();
    }

    fn route(&mut self, publish: TargetPublish) {
        let now = Instant::now();
        let door = self.targets.door(publish.exchange(), publish.keys(), now);
        match self.targets.route(&door, publish, now) {
            Route::Shared(publish) => self.publish_shared(publish),
            Route::Queued => {}
            Route::Failed(publish, cause) => self.settled.push((publish, Some(cause))),
        }
    }

    /// Publishes on the shared channel, if its target has not taken up its share already.
    fn publish_shared(&mut self, mut publish: TargetPublish) {
        publish.shared = true;
        let share = publish.share().to_owned();
        if let Some(publish) = self.shares.enter(&share, publish) {
            self.main.publish(publish.message(), publish);
        }
    }

    /// A publish on the shared channel is over; the next of its target's line takes the place.
    fn leave_share(&mut self, publish: &mut TargetPublish) {
        if std::mem::take(&mut publish.shared)
            && let Some(next) = self.shares.leave(publish.share())
        {
            self.main.publish(next.message(), next);
        }
    }

    fn start_probes(&mut self) {
        if self.is_blocked() {
            return;
        }
        for probe in &mut self.probes {
            if !probe.publisher.is_empty() || !probe.publisher.is_open() {
                continue;
            }
            let (door, publish) = match self.alone.pop_front() {
                Some(publish) => (None, publish),
                None => match self.targets.next_probe() {
                    Some((door, publish)) => (Some(door), publish),
                    None => return,
                },
            };
            probe.door = door;
            probe.since = Instant::now();
            probe.publisher.publish(publish.message(), publish);
        }
    }

    /// The publishes that are settled. Cancel safe. The caller then calls [`TargetPublisher::mend`].
    pub async fn settled(&mut self) -> Vec<Settled> {
        poll_fn(|context| self.poll_settled(context)).await
    }

    fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<Vec<Settled>> {
        if let Poll::Ready(settled) = self.main.poll_settled(context) {
            for (publish, outcome) in settled {
                if outcome == Outcome::Nacked {
                    self.main_freshness.refuse();
                }
                self.settle_shared(publish, outcome);
            }
        }
        for index in 0..self.retired.len() {
            if let Poll::Ready(settled) = self.retired[index].poll_settled(context) {
                for (publish, outcome) in settled {
                    self.settle_shared(publish, outcome);
                }
            }
        }
        for index in 0..self.probes.len() {
            if let Poll::Ready(settled) = self.probes[index].publisher.poll_settled(context) {
                let door = self.probes[index].door.take();
                for (publish, outcome) in settled {
                    if outcome == Outcome::Nacked {
                        self.probes[index].freshness.refuse();
                    }
                    self.settle_probe(door.as_deref(), publish, outcome);
                }
            }
        }
        let closed =
            !self.main.is_open() || self.probes.iter().any(|probe| !probe.publisher.is_open());
        if self.settled.is_empty() && !closed {
            Poll::Pending
        } else {
            Poll::Ready(std::mem::take(&mut self.settled))
        }
    }

    fn settle_shared(&mut self, mut publish: TargetPublish, outcome: Outcome) {
        self.leave_share(&mut publish);
        let Outcome::Unknown(closed) = &outcome else {
            return self.settled.push((publish, cause_of(&outcome)));
        };
        // not known whether it arrived: it goes again, which may duplicate it
        self.targets.doubt_all();
        match closed.refused() {
            // its probe will tell
            Refused::Exchange => {}
            Refused::Key { exchange } => self.ask_by_key(exchange.unwrap_or(publish.exchange())),
            // over one of them
            Refused::Message => publish.alone = true,
        }
        if publish.alone { self.alone.push_back(publish) } else { self.route(publish) }
    }

    fn settle_probe(&mut self, door: Option<&str>, publish: TargetPublish, outcome: Outcome) {
        match &outcome {
            Outcome::Unknown(closed) => self.close_door(door, &publish, closed),
            Outcome::Confirmed | Outcome::Returned { .. } | Outcome::Nacked => {
                door.into_iter().for_each(|door| self.trust(door));
            }
        }
        self.settled.push((publish, cause_of(&outcome)));
    }

    fn trust(&mut self, door: &str) {
        for waiting in self.targets.trust(door) {
            // by key by now, perhaps
            self.route(waiting);
        }
    }

    fn ask_by_key(&mut self, exchange: &str) {
        for waiting in self.targets.ask_by_key(exchange, Instant::now()) {
            self.route(waiting);
        }
    }

    /// RabbitMQ closed a probe's channel over this publish, which was alone on it.
    fn close_door(&mut self, door: Option<&str>, publish: &TargetPublish, closed: &Closed) {
        let (exchange, now) = (publish.exchange(), Instant::now());
        match closed.refused() {
            Refused::Exchange => {
                self.targets.ask_as_one(exchange);
                if let Some(door) = door {
                    self.avoid(door, &closed_over(closed), now);
                }
            }
            Refused::Key { .. } => {
                self.ask_by_key(exchange);
                let door = self.targets.door(exchange, publish.keys(), now);
                self.avoid(&door, &closed_over(closed), now);
            }
            Refused::Message => {
                if let Some(door) = door {
                    self.targets.probe_again(door);
                }
            }
        }
    }

    fn avoid(&mut self, door: &str, cause: &Cause, now: Instant) {
        for waiting in self.targets.avoid(door, cause, now) {
            self.settled.push((waiting, Some(cause.clone())));
        }
    }

    /// Opens anew the channels that were closed, and goes on with whatever waits for a probe.
    ///
    /// Errors: the connection is gone too.
    pub async fn mend(&mut self) -> Result<(), AmqpError> {
        let now = Instant::now();
        // a closed channel keeps its place until all of its publishes are settled
        let closed = !self.main.is_open() && self.main.is_empty();
        // never confirmed and never to be: such a channel only grows
        let grown = self.main.abandoned() > usize::from(self.shared.config.delivery.window);
        let stale = self.main_freshness.is_stale(now) && self.main.is_open();
        // one on which nothing is outstanding is closed below
        let spare = |retired: &Vec<_>| retired.len() < self.shared.channels.retired;
        if closed || (grown || stale) && (self.main.is_empty() || spare(&self.retired)) {
            let fresh = self.connection.publisher().await?;
            self.retired.push(std::mem::replace(&mut self.main, fresh));
            self.main_freshness = Freshness::new(now);
        }
        for probe in &mut self.probes {
            let idle = probe.publisher.is_empty();
            let closed = !probe.publisher.is_open() && idle;
            let long =
                probe.door.is_none() && !idle && now.duration_since(probe.since) > PROBE_PASSED;
            let long = long && spare(&self.retired);
            if closed || long || probe.freshness.is_stale(now) && idle {
                let fresh = self.connection.publisher().await?;
                self.retired.push(std::mem::replace(&mut probe.publisher, fresh));
                probe.freshness = Freshness::new(now);
            }
        }
        for mut publisher in std::mem::take(&mut self.retired) {
            if publisher.is_empty() {
                publisher.close().await
            } else {
                self.retired.push(publisher)
            }
        }
        self.start_probes();
        Ok(())
    }

    /// Looks at what takes long: probes that have passed without a confirm, and publishes without one
    /// for the confirm timeout, which have failed. While an alarm blocks the connection nothing can be
    /// confirmed, so nothing is overdue. To be called every second or so, and [`TargetPublisher::mend`] after it.
    pub fn look(&mut self, now: Instant) {
        if self.connection.is_blocked() {
            self.blocked_at = Some(now);
        }
        for index in 0..self.probes.len() {
            let Probe { publisher, door, since, .. } = &mut self.probes[index];
            if publisher.is_open()
                && !publisher.is_empty()
                && now.duration_since(*since) > PROBE_PASSED
            {
                // a blocked broker has not seen it yet
                let passed = if self.blocked_at == Some(now) { None } else { door.take() };
                passed.into_iter().for_each(|door| self.trust(&door));
            }
        }
        let timeout = self.shared.config.delivery.confirm_timeout;
        let Some(before) = now.checked_sub(timeout) else { return };
        if self.blocked_at.is_some_and(|blocked_at| blocked_at > before) {
            return;
        }
        let probes = self.probes.iter_mut().map(|probe| &mut probe.publisher);
        let publishers = probes.chain(&mut self.retired).chain([&mut self.main]);
        let overdue: Vec<_> = publishers.flat_map(|publisher| publisher.overdue(before)).collect();
        for mut publish in overdue {
            self.leave_share(&mut publish);
            self.settled.push((publish, Some(timed_out())));
        }
    }
}
