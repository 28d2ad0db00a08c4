//! The connections of the API: so many at once, and for one more, the one that has been idle longest goes. Pure, but for
//! the clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Those that are open. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

struct Shared {
    most: usize,
    begun: Instant,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<State>>>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    /// Requests and streams under way.
    busy: AtomicUsize,
    /// Since when there are none, in ms since the service began.
    idle_since_ms: AtomicU64,
    evicted: CancellationToken,
}

/// A connection that counts. Dropped, there is room for another.
pub struct Place {
    number: u64,
    state: Arc<State>,
    connections: Connections,
}

/// A request or stream under way on it: it is not idle. Cheap to clone.
#[derive(Clone)]
pub struct Busy(#[expect(dead_code, reason = "its end is what counts")] Arc<BusyOnce>);

struct BusyOnce {
    state: Arc<State>,
    begun: Instant,
}

impl Connections {
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            most,
            begun: Instant::now(),
            next: AtomicU64::default(),
            open: Mutex::default(),
            ended: Notify::default(),
        }))
    }

    /// Waits until there is room, and makes some where there is none.
    pub async fn place(&self) -> Place {
        loop {
            let ended = self.0.ended.notified();
            if let Some(place) = self.try_place() {
                return place;
            }
            ended.await;
        }
    }

    /// None if there is no room; then the one that has been idle longest is asked to go.
    fn try_place(&self) -> Option<Place> {
        let mut open = self.open();
        if open.len() < self.0.most {
            let number = self.0.next.fetch_add(1, Ordering::Relaxed);
            let state = Arc::new(State::default());
            state.idle_since_ms.store(ms_since(self.0.begun), Ordering::Relaxed);
            open.insert(number, state.clone());
            return Some(Place { number, state, connections: self.clone() });
        }
        let idle = open.values().filter(|state| state.is_idle());
        let longest = idle.min_by_key(|state| state.idle_since_ms.load(Ordering::Relaxed));
        if let Some(longest) = longest {
            longest.evicted.cancel();
        }
        None
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<State>>> {
        self.0.open.lock().expect("no panic while connections are counted")
    }
}

fn ms_since(begun: Instant) -> u64 {
    begun.elapsed().as_millis() as u64
}

impl State {
    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && !self.evicted.is_cancelled()
    }
}

impl Place {
    /// Its room is wanted for another.
    pub async fn evicted(&self) {
        self.state.evicted.cancelled().await;
    }

    /// A request has begun.
    pub fn busy(&self) -> Busy {
        self.state.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::new(BusyOnce { state: self.state.clone(), begun: self.connections.0.begun }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().remove(&self.number);
        self.connections.0.ended.notify_waiters();
    }
}

impl Drop for BusyOnce {
    fn drop(&mut self) {
        self.state.idle_since_ms.store(ms_since(self.begun), Ordering::Relaxed);
        self.state.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_one_that_is_idle_longest_makes_room() {
        let connections = Connections::new(3);
        let (first, second, third) =
            (connections.place().await, connections.place().await, connections.place().await);
        let busy = first.busy();
        tokio::time::sleep(Duration::from_millis(3)).await;
        drop(third.busy());
        let another = connections.place();
        tokio::pin!(another);
        let wait = tokio::time::timeout(Duration::from_millis(20), &mut another).await;
        assert!(wait.is_err(), "it waits until the other has gone");
        assert!(second.state.evicted.is_cancelled(), "idle from its beginning");
        assert!(!first.state.evicted.is_cancelled() && !third.state.evicted.is_cancelled());
        drop(second);
        another.await;
        drop(busy);
        assert_eq!(connections.open().len(), 2);
    }
}
