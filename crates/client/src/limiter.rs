//! What a consumer waits at before it starts a message: [`Flow`] with a clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::Signal;
use super::breaker::State;
use super::flow::{Admission, Flow, FlowSettings, Ticket};

/// Lets messages start no faster than its [`FlowSettings`] say. Cheap to clone; clones are one limiter.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::{Duration, Instant};
///
/// use dormouse_client::{
///     AdaptiveSettings, BreakerSettings, FlowSettings, Limiter, Rate, Signal,
/// };
///
/// let limiter = Limiter::new(&FlowSettings {
///     rate: Some(Rate::new(200, Duration::from_secs(1)).burst(20)),
///     concurrency: AdaptiveSettings { max: 32, ..AdaptiveSettings::default() },
///     breaker: Some(BreakerSettings::default()),
/// });
///
/// let permit = limiter.permit().await;
/// let started = Instant::now();
/// // … handle one message …
/// permit.done(Signal::Succeeded, started.elapsed());
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
    /// What a permit of this one needs besides.
    outer: Option<Arc<Limiter>>,
}

#[derive(Debug)]
struct Shared {
    flow: Mutex<Flow>,
    /// The first in line waits for `freed`, the others for the line: first come, first served, and
    /// whoever stops waiting leaves it.
    line: tokio::sync::Mutex<()>,
    freed: Notify,
    state: watch::Sender<State>,
}

impl Limiter {
    /// Of its own; clones share it.
    pub fn new(settings: &FlowSettings) -> Self {
        let flow = Flow::new(settings);
        let state = watch::Sender::new(flow.state());
        let (line, freed) = (tokio::sync::Mutex::new(()), Notify::new());
        let shared = Arc::new(Shared { flow: Mutex::new(flow), line, freed, state });
        Self { shared, outer: None }
    }

    /// This limiter's limits and those of `outer` as well: a permit is one of both, and tells both what
    /// became of its message.
    #[must_use]
    pub fn within(self, outer: Limiter) -> Self {
        let outer = match self.outer {
            Some(between) => Limiter::clone(&between).within(outer),
            None => outer,
        };
        Self { outer: Some(Arc::new(outer)), ..self }
    }

    /// Waits until a message may start. Cancel-safe: a wait that is dropped takes nothing.
    ///
    /// The rate counts permits, so hold no more than one while no message is there.
    pub async fn permit(&self) -> Permit {
        let mut permit = self.own_permit().await;
        if let Some(outer) = &self.outer {
            permit.outer = Some(Box::new(Box::pin(outer.permit()).await));
        }
        permit
    }

    async fn own_permit(&self) -> Permit {
        let _first = self.shared.line.lock().await;
        loop {
            // what comes back after the look at the flow leaves its note here
            let freed = self.shared.freed.notified();
            let admission = self.shared.change(|flow| flow.admit(Instant::now()));
            match admission {
                Admission::Start(ticket) => {
                    let shared = self.shared.clone();
                    return Permit { ticket: Some(ticket), shared, outer: None };
                }
                Admission::WaitUntil(at) => {
                    // a limit may rise or a breaker open meanwhile: look again then, too
                    let _ = tokio::time::timeout_at(at.into(), freed).await;
                }
                Admission::WaitForTicket => freed.await,
            }
        }
    }

    /// Waits until the breaker is open, and says until when. A consumer that cancels itself then
    /// (`basic.cancel`) and puts back what it has prefetched leaves the messages to others; the next
    /// [`permit`](Self::permit) is the first probe's. Cancel-safe.
    pub async fn opened(&self) -> Instant {
        let mut state = self.shared.state.subscribe();
        loop {
            if let State::Open { until } = *state.borrow_and_update() {
                return until;
            }
            state.changed().await.expect("this limiter holds the sender");
        }
    }

    /// Where its breaker stands.
    pub fn state(&self) -> State {
        self.shared.flow().state()
    }

    /// Until when there is no permit, whatever comes back: by this limiter's limits, or those around.
    pub fn closed_until(&self, now: Instant) -> Option<Instant> {
        let own = self.shared.flow().closed_until(now);
        let outer = self.outer.as_ref().and_then(|outer| outer.closed_until(now));
        own.max(outer)
    }

    /// Permits that are out.
    pub fn in_flight(&self) -> u32 {
        self.shared.flow().in_flight()
    }

    /// How many permits may be out now.
    pub fn limit(&self) -> u32 {
        let own = self.shared.flow().limit();
        self.outer.as_ref().map_or(own, |outer| own.min(outer.limit()))
    }
}

impl Shared {
    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Flow) -> T) -> T {
        let mut flow = self.flow();
        let changed = change(&mut flow);
        // inside the lock, so that states are seen in their order
        let new = flow.state();
        self.state.send_if_modified(|state| std::mem::replace(state, new) != new);
        changed
    }
}

/// The right to handle one message. Dropped, it counts as not needed.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    ticket: Option<Ticket>,
    shared: Arc<Shared>,
    /// Of the limiter around.
    outer: Option<Box<Permit>>,
}

impl Permit {
    /// The message was handled, from its start in `latency`.
    pub fn done(mut self, verdict: Signal, latency: Duration) {
        if let Some(outer) = self.outer.take() {
            outer.done(verdict, latency);
        }
        let ticket = self.ticket.take();
        self.give_back(ticket, |flow, ticket| flow.done(Instant::now(), ticket, verdict, latency));
    }

    fn give_back(&self, ticket: Option<Ticket>, how: impl FnOnce(&mut Flow, Ticket)) {
        if let Some(ticket) = ticket {
            self.shared.change(|flow| how(flow, ticket));
            self.shared.freed.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let ticket = self.ticket.take();
        self.give_back(ticket, Flow::unused);
    }
}
