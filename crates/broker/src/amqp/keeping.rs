//! Messages that nobody takes a replacement for, kept from those who could not read them.

use std::time::Duration;

use tokio::time::Instant;

use super::RawConnection;
use super::amqp10::link::Link;

/// Holds messages unacknowledged until it is dropped, while [`Keeping::hold`] runs.
pub struct Keeping(pub(super) Held);

pub(super) enum Held {
    /// Without heartbeats.
    Raw(Box<RawConnection>),
    Link(Box<Link>),
}

/// Well within what RabbitMQ lets an AMQP 1.0 connection be silent.
const BEAT: Duration = Duration::from_secs(10);

impl Keeping {
    /// Holds them for so long, and gives them back.
    pub async fn hold(self, time: Duration) {
        let end = Instant::now() + time;
        match self.0 {
            Held::Raw(_held) => tokio::time::sleep_until(end).await,
            Held::Link(mut link) => {
                while Instant::now() < end && link.beat().await.is_ok() {
                    tokio::time::sleep(BEAT).await;
                }
            }
        }
    }
}
