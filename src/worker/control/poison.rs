//! A message in the command queue that ends the connection of whoever is to get it goes to the DLQ: it is no
//! command that anybody could have meant.

use std::sync::Arc;

use dormouse_broker::unreadable;
use dormouse_core::control::MOST_UNACKED;
use tracing::warn;

use crate::amqp::{AmqpError, ScanQueue};
use crate::config::Config;
use crate::message::Message;
use crate::schedule::{Cause, DelayedMessage, Reason};
use crate::topology::Names;
use crate::worker::dispatch::Dispatch;
use crate::worker::unconvertible::Moving;
use crate::worker::{Clock, WorkerError};

/// Looks for what may have been the reason that a connection ended. True if something was moved.
pub(super) async fn moved(config: &Arc<Config>, clock: &Clock, error: &AmqpError) -> bool {
    // as many as every registrar takes: what is returned stays in order then
    let queue = ScanQueue { queue: Names::of(config).command(), prefetch: MOST_UNACKED as u16 };
    let moved = if error.may_be_amqp10() {
        move_unconvertible(config, clock, &queue).await
    } else if error.may_be_a_delivery() {
        move_unreadable(config, clock, queue).await
    } else {
        return false;
    };
    moved.unwrap_or_else(|error| {
        warn!(name: "commands-unreadable-not-moved", %error, "a message in the command queue cannot be read, and could not be moved");
        false
    })
}

async fn move_unreadable(
    config: &Config,
    clock: &Clock,
    queue: ScanQueue,
) -> Result<bool, WorkerError> {
    let complete = |delayed: &mut DelayedMessage, _| {
        let target = &config.delay_exchanges[0].target_exchange;
        delayed.stamp.target.exchange.clone_from(target);
    };
    let put_off = None::<fn(&mut DelayedMessage) -> Message>;
    let looked = unreadable::move_unreadable(config, clock, &[queue], complete, put_off).await?;
    Ok(looked.moved > 0)
}

/// What an AMQP 1.0 client published and AMQP 0-9-1 cannot carry.
async fn move_unconvertible(
    config: &Arc<Config>,
    clock: &Clock,
    queue: &ScanQueue,
) -> Result<bool, WorkerError> {
    let mut moving = Moving::open(config, clock, None).await?;
    let exchange = &config.delay_exchanges[0];
    let refuse = |dispatch: &Dispatch, message, problem: &str| {
        let (mut message, _) = dispatch.schedule(message, exchange, None);
        let detail = format!("AMQP 0-9-1 cannot carry it: {problem}");
        let to = dispatch.doom(&mut message, Cause { reason: Reason::CommandRefused, detail });
        (message, to)
    };
    moving.look_through(queue, refuse).await?;
    Ok(moving.end().await.moved > 0)
}
