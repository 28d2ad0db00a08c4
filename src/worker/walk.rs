//! Looks through one queue of the levels: takes what stands in it, and puts it back to sleep for its own time.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Clock;
use super::mover::{Mover, MoverError, Speed, Stopped, Told};
use crate::amqp::Connection;
use crate::amqp::inspector::Inspector;
use crate::config::Config;

/// How long one look at the progress takes.
const TICK: Duration = Duration::from_millis(25);

/// An empty queue that gives nothing for so long has given all.
const EMPTY: Duration = Duration::from_millis(50);

/// Any queue that gives nothing for so long has.
const QUIET: Duration = Duration::from_millis(500);

/// Messages in flight, as a share of those of a second: they are held out of their queue for so long.
const IN_FLIGHT: u32 = 20;

/// On its way through a queue.
pub struct Walk {
    mover: Mover,
    queue: String,
    /// Messages that were there when it began. What came behind them came on time.
    stood: u64,
    is_through: bool,
    publishing: Arc<Connection>,
}

impl Walk {
    /// Begins, at so many messages a second. Errors: RabbitMQ refuses a consumer or a channel.
    pub async fn start(
        config: &Config,
        clock: &Clock,
        (consuming, publishing): (&Connection, &Arc<Connection>),
        (queue, stood): (String, u64),
        rate: u32,
    ) -> Result<Self, MoverError> {
        let speed = Speed { rate, window: (rate / IN_FLIGHT).clamp(1, 500) as usize };
        let queues = std::slice::from_ref(&queue);
        let connections = (consuming, publishing);
        let mover = Mover::start(config, clock.clone(), connections, queues, speed).await?;
        let publishing = publishing.clone();
        Ok(Self { mover, queue, stood, is_through: false, publishing })
    }

    /// Tells of each message that it takes.
    pub fn tell(&mut self, told: Told) {
        self.mover.tell(told);
    }

    /// Goes on for a moment. False if it is through, or `stop`.
    pub async fn step(
        &mut self,
        inspector: &mut Inspector<'_>,
        stop: &CancellationToken,
    ) -> Result<bool, MoverError> {
        let Self { mover, queue, stood, is_through, publishing } = self;
        *is_through |= mover.taken() >= *stood;
        if mover.taken() >= *stood || mover.is_quiet_for(QUIET) || stop.is_cancelled() {
            return Ok(false);
        }
        // what is taken during an alarm would enter its level when that is over
        if publishing.is_blocked() {
            tokio::time::sleep(TICK).await;
            return Ok(true);
        }
        mover.work(TICK, stop).await?;
        let is_empty = mover.is_quiet_for(EMPTY)
            && inspector.queue(queue).await?.is_none_or(|depth| depth.ready == 0);
        *is_through |= is_empty;
        Ok(!is_empty)
    }

    /// Whether all that stood there was taken, or had left.
    pub fn is_through(&self) -> bool {
        self.is_through
    }

    /// Confirmed so far.
    pub fn moved(&self) -> u64 {
        self.mover.moved()
    }

    /// Something may have entered its level late.
    pub fn was_late(&self) -> bool {
        self.mover.was_late()
    }

    /// Takes no more, and settles what is in flight.
    pub async fn stop(self) -> Result<Stopped, MoverError> {
        self.mover.stop().await
    }
}
