//! The sweep: after a broker's start, plans again what sleeps in the levels.
//!
//! A level's TTL goes on while the broker is down, but a message whose TTL ran out then enters its next
//! level only at the start, and would be late there by up to the length of the downtime. So one worker
//! reads each level queue once, as far as it stood then, and puts what is in it back to sleep until its
//! stamped due time, at a bounded rate, beside the normal service. Nobody can see from outside which
//! messages are late, and RabbitMQ gives returned ones to the same reader again: so all of them move.
//!
//! The top level is left out: only a worker publishes into it, by the time that it is then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Shared;
use super::mover::MoverError;
use super::walk::Walk;
use crate::amqp::inspector::Inspector;
use crate::amqp::sweep_lease::{Claim, SweepLease};
use crate::amqp::{AmqpError, Connection};
use crate::config::Config;
use crate::topology::{self, Names};

/// Another worker sweeps: whether it has finished.
const AGAIN: Duration = Duration::from_secs(10);

/// After an error, such as a node that is down with the mark on it: whether it works now.
const AFTER_ERROR: Duration = Duration::from_secs(60);

/// Two sweeps without a broker's start lie at least so far apart.
const REST: Duration = Duration::from_secs(5);

/// And so many times as long as moving so many takes at full rate, and as long as the last one took: neither
/// a large backlog nor a slow broker is swept all the time.
const REST_FACTOR: u32 = 10;

/// Runs until `stop`. It never ends a session: what goes wrong is logged and tried again.
pub(super) async fn run(
    shared: &Shared,
    consuming: &Connection,
    publishing: &Arc<Connection>,
    stop: &CancellationToken,
) {
    if shared.config.sweep.rate == 0 {
        return stop.cancelled().await;
    }
    let sweeper = Sweeper { shared, consuming, publishing, stop };
    let mut although_marked = false;
    let mut rest = Duration::ZERO;
    while !stop.is_cancelled() {
        let started = Instant::now();
        let again = match sweeper.claim(although_marked).await {
            Ok(Some(moved)) => {
                let at_full_rate = Duration::from_secs(moved) / shared.config.sweep.rate;
                let took = started.elapsed().max(at_full_rate * REST_FACTOR);
                rest = if although_marked { REST.max(took) } else { rest };
                None
            }
            Ok(None) => Some(AGAIN),
            Err(MoverError::Amqp(AmqpError::Closed { code: 403, text })) => {
                info!(
                    name: "sweep-forbidden",
                    text,
                    "what sleeps is not planned again after a broker's start: it needs more permissions"
                );
                return stop.cancelled().await;
            }
            Err(error) => {
                warn!(name: "sweep-failed", %error, again_in = ?AFTER_ERROR, "what sleeps could not be planned again");
                Some(AFTER_ERROR)
            }
        };
        although_marked = false;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {}
            () = sweeper.may_be_late(rest), if again.is_none() => although_marked = true,
            () = shared.signals.stepped_ahead.notified() => although_marked = true,
        }
    }
}

struct Sweeper<'a> {
    shared: &'a Shared,
    consuming: &'a Connection,
    publishing: &'a Arc<Connection>,
    stop: &'a CancellationToken,
}

impl Sweeper<'_> {
    /// Sweeps, unless that was done since the broker's start: how many messages moved. None if another
    /// worker is at it.
    async fn claim(&self, although_marked: bool) -> Result<Option<u64>, MoverError> {
        let name = self.shared.names().swept();
        let marker = match SweepLease::claim(self.consuming, &name, although_marked).await? {
            Claim::Marked => return Ok(Some(0)),
            Claim::Taken => return Ok(None),
            Claim::Mine(marker) => marker,
        };
        let swept = self.sweep(&marker).await;
        marker.release().await;
        swept.map(Some)
    }

    /// Level by level from the shortest on, since what is due sooner has to be put right sooner.
    async fn sweep(&self, marker: &SweepLease) -> Result<u64, MoverError> {
        let mut moved = 0;
        let mut inspector = Inspector::open(self.consuming).await?;
        for queue in queues(&self.shared.config) {
            let stood = inspector.queue(&queue).await?.map_or(0, |depth| u64::from(depth.ready));
            if stood > 0 {
                moved += self.queue(queue, stood, &mut inspector).await?;
            }
            if self.stop.is_cancelled() {
                return Ok(moved);
            }
        }
        marker.mark().await?;
        if moved > 0 {
            info!(name: "sweep-done", moved, "planned again what sleeps in the levels, so that it wakes on time");
        }
        Ok(moved)
    }

    /// Moves what stood in this queue. What came behind it meanwhile came on time.
    async fn queue(
        &self,
        queue: String,
        stood: u64,
        inspector: &mut Inspector<'_>,
    ) -> Result<u64, MoverError> {
        let Shared { config, clock, .. } = self.shared;
        let connections = (self.consuming, self.publishing);
        let rate = config.sweep.rate;
        let mut walk = Walk::start(config, clock, connections, (queue, stood), rate).await?;
        let mut counted = 0;
        while walk.step(inspector, self.stop).await? {
            counted = self.count(counted, walk.moved());
        }
        if walk.was_late() {
            self.shared.signals.may_be_late.notify_one();
        }
        let moved = walk.stop().await?.moved;
        self.count(counted, moved);
        Ok(moved)
    }

    fn count(&self, counted: u64, moved: u64) -> u64 {
        self.shared.events().note_swept(moved - counted);
        moved
    }

    /// Messages came out of the levels late, or went in late: a lost majority, a stalled connection and
    /// a frozen broker leave no other trace.
    async fn may_be_late(&self, rest: Duration) {
        tokio::time::sleep(rest).await;
        self.shared.signals.may_be_late.notified().await;
    }
}

/// All level queues but those of the top level, shortest TTL first.
fn queues(config: &Config) -> Vec<String> {
    let (names, layout) = (Names::of(config), topology::layout(config));
    let levels = layout.levels();
    let below_top = &levels[..levels.len().saturating_sub(1)];
    below_top
        .iter()
        .flat_map(|level| (1..level.keys.len()).map(|digit| names.level_queue(level, digit)))
        .collect()
}
