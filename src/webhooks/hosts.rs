//! One gate for each host: so many requests at once, and a breaker, so that a host that hangs or is down costs others
//! nothing. What finds its host's gate shut goes back into the levels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dormouse_client::breaker::{Admission, Pass, State};
use dormouse_client::{Breaker, BreakerSettings, Signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::metrics::HostGauges;
use super::outcome::About;
use crate::counted::Counted;

/// Requests at once to one host.
pub const AT_ONCE: usize = 16;
/// So many more wait for a place, this long at most: a burst to a quick host is none to put back.
const WAITING: usize = 128;
const WAIT: Duration = Duration::from_secs(1);
/// A host with as many requests as it may have is asked again after this, and up to twice as long.
const FULL: Duration = Duration::from_secs(1);
/// What finds a breaker open comes back after the breaker's pause, and this much later, and up to twice as much.
const SPREAD: Duration = Duration::from_millis(500);

/// The gates of all hosts that were asked for.
#[derive(Debug, Default)]
pub struct Hosts {
    by_authority: Mutex<HashMap<String, Arc<Host>>>,
}

#[derive(Debug)]
struct Host {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    breaker: Mutex<Breaker>,
    gauges: HostGauges,
}

/// The right to send one request. Given back with [`Admitted::done`].
#[derive(Debug)]
#[must_use]
pub struct Admitted {
    host: Arc<Host>,
    pass: Option<Pass>,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

/// Not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shut {
    /// Until it is tried again.
    pub pause: Duration,
    pub why: &'static str,
}

impl Hosts {
    /// Whether a request to `authority` may be sent, once there is a place. `chance` in 0..1 spreads those that may
    /// not.
    pub async fn admit(&self, authority: &str, chance: f64) -> Result<Admitted, Shut> {
        let host = self.host(authority);
        let spread = |least: Duration| least.mul_f64(1.0 + chance);
        let Some(place) = host.place().await else {
            return Err(Shut {
                pause: spread(FULL),
                why: "its host has as many requests as it may",
            });
        };
        let now = Instant::now();
        let admission = host.judge(|breaker| breaker.admit(now));
        let pass = match admission {
            Admission::Pass(pass) => pass,
            Admission::WaitUntil(until) => {
                let pause = until.saturating_duration_since(now) + spread(SPREAD);
                return Err(Shut { pause, why: "its host is down, as most requests failed" });
            }
            Admission::WaitForProbe => {
                let pause = spread(FULL);
                return Err(Shut { pause, why: "its host is being probed" });
            }
        };
        let counted = host.gauges.under_way();
        Ok(Admitted { host, pass: Some(pass), _place: place, _counted: counted })
    }

    fn host(&self, authority: &str) -> Arc<Host> {
        let mut hosts = self.by_authority.lock().expect("no panic while a host is added");
        if let Some(host) = hosts.get(authority) {
            return host.clone();
        }
        let breaker = Mutex::new(Breaker::new(BreakerSettings::default()));
        let (places, waiting) = (Semaphore::new(AT_ONCE), Semaphore::new(WAITING));
        let (places, waiting, gauges) = (places.into(), waiting.into(), HostGauges::new(authority));
        let host = Arc::new(Host { places, waiting, breaker, gauges });
        hosts.insert(authority.to_owned(), host.clone());
        host
    }
}

impl Host {
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(place);
        }
        let _waits = self.waiting.try_acquire().ok()?;
        let _counted = self.gauges.waits();
        timeout(WAIT, self.places.clone().acquire_owned()).await.ok()?.ok()
    }

    /// Whatever it comes to, metrics tell where the breaker stands after it.
    fn judge<T>(&self, judge: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock().expect("no panic while an outcome is noted");
        let judged = judge(&mut breaker);
        self.gauges.breaker(breaker.state() != State::Closed);
        judged
    }
}

impl Admitted {
    /// Tells what came of it.
    pub fn done(mut self, about: About, now: Instant) {
        let Some(pass) = self.pass.take() else { return };
        self.host.judge(|breaker| match about {
            About::Up | About::Gone => breaker.done(now, pass, Signal::Succeeded),
            About::Down => breaker.done(now, pass, Signal::Failed),
            About::Nothing => breaker.unused(pass),
        });
    }
}

/// Whoever is stopped in the middle gives its pass back.
impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.host.judge(|breaker| breaker.unused(pass));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_has_so_many_places_and_no_other_waits_for_them() {
        let (hosts, now) = (Hosts::default(), Instant::now());
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(hosts.admit("slow", 0.0).await.unwrap());
        }
        let shut = hosts.admit("slow", 0.5).await.unwrap_err();
        assert_eq!(shut.pause, FULL.mul_f64(1.5));
        hosts.admit("good", 0.0).await.unwrap().done(About::Up, now);
        let one = held.pop();
        let (admitted, ()) = tokio::join!(hosts.admit("slow", 0.0), async { drop(one) });
        admitted.unwrap().done(About::Up, now);
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let hosts = Hosts::default();
        let all = (0..AT_ONCE + WAITING + 5).map(|_| hosts.admit("slow", 0.0));
        let began = Instant::now();
        let all = futures_util::future::join_all(all).await;
        assert_eq!(all.iter().filter(|admitted| admitted.is_ok()).count(), AT_ONCE);
        assert!(began.elapsed() >= WAIT, "some waited");
        let waiting = &hosts.host("slow").waiting;
        assert_eq!(waiting.available_permits(), WAITING, "all places to wait are given back");
    }

    #[tokio::test]
    async fn a_host_that_is_down_is_left_alone_and_probed_later() {
        let (hosts, now) = (Hosts::default(), Instant::now());
        for _ in 0..10 {
            hosts.admit("down", 0.0).await.unwrap().done(About::Down, now);
        }
        let shut = hosts.admit("down", 0.0).await.unwrap_err();
        assert!(shut.pause > SPREAD, "{shut:?}");
        hosts.admit("good", 0.0).await.unwrap().done(About::Up, now);
    }
}
