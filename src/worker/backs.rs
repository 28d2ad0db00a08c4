//! Which queues have an exchange that leads back to them: a fanout of that queue alone, through which
//! a message comes back with its first routing key and `CC`.
//!
//! Whoever may binds it: an operator with `dormouse retry enable`, or a worker at the first sight of
//! the queue. Where nobody may, messages come back through the default exchange.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use crate::amqp::declare::{DeclareError, declare};
use crate::amqp::exists::Ask;
use crate::amqp::remove::Remove;
use crate::amqp::{AmqpError, Connection};
use crate::topology::{self, Topology};

/// What is known of the exchanges. Pure.
#[derive(Debug, Default)]
pub struct Backs {
    known: HashMap<String, Standing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It stands, and is bound as far as is known.
    Leads,
    /// There is none, or nobody could bind it: not looked at again before then.
    Missing { until: Instant },
    /// It returned a message, so its binding is gone with a queue that was deleted.
    Unbound,
}

/// What to do before a message is sent back to a queue for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Nothing,
    /// Use the exchange if it stands, else make it.
    Find,
    /// Bind it anew.
    Bind,
}

/// How long the default exchange is used before the exchange of the queue is looked for again.
const AVOIDED: Duration = Duration::from_secs(60);

/// Queues that are remembered. Names come and go where clients make a queue for each of theirs.
const REMEMBERED: usize = 10_000;

impl Backs {
    /// Whether to look for the exchange of this queue before a message goes there.
    pub fn look(&self, queue: &str, now: Instant) -> Look {
        match self.known.get(queue) {
            Some(Standing::Leads) => Look::Nothing,
            Some(Standing::Missing { until }) if *until > now => Look::Nothing,
            Some(Standing::Missing { .. }) | None => Look::Find,
            Some(Standing::Unbound) => Look::Bind,
        }
    }

    /// Whether to send through the exchange of this queue. One that nobody looked for is tried: it
    /// tells by a return or a closed channel if it is not there.
    pub fn leads(&self, queue: &str, now: Instant) -> bool {
        match self.known.get(queue) {
            Some(Standing::Leads) | None => true,
            Some(Standing::Missing { until }) => *until <= now,
            Some(Standing::Unbound) => false,
        }
    }

    pub fn found(&mut self, queue: &str) {
        self.note(queue, Standing::Leads);
    }

    /// There is none; says whether that is news.
    pub fn missing(&mut self, queue: &str, now: Instant) -> bool {
        let known = matches!(self.known.get(queue), Some(Standing::Missing { .. }));
        self.note(queue, Standing::Missing { until: now + AVOIDED });
        !known
    }

    /// A message came back from the exchange, or it is not there any more.
    pub fn lost(&mut self, queue: &str) {
        self.note(queue, Standing::Unbound);
    }

    fn note(&mut self, queue: &str, standing: Standing) {
        if self.known.len() >= REMEMBERED && !self.known.contains_key(queue) {
            self.known.clear();
        }
        self.known.insert(queue.to_owned(), standing);
    }
}

/// Whether the exchange is there. Its binding cannot be seen: a return tells.
pub async fn stands(connection: &Connection, exchange: &str) -> Result<bool, AmqpError> {
    Ask::open(connection).await?.exchange(exchange).await
}

/// Finds the exchange that leads back to `queue`, or makes it. False: there is none, and we may not
/// make it.
///
/// Errors: the connection is gone.
pub async fn find_or_bind(
    connection: &Connection,
    queue: &str,
    exchange: &str,
    anew: bool,
) -> Result<bool, AmqpError> {
    let mut ask = Ask::open(connection).await?;
    let stood = ask.exchange(exchange).await?;
    if stood && !anew {
        return Ok(true);
    }
    let wanted = Topology {
        exchanges: vec![topology::back_exchange(exchange)],
        bindings: vec![topology::back_binding(exchange, queue)],
        ..Topology::default()
    };
    let refused = match declare(connection, &wanted).await {
        Ok(()) => {
            info!(queue, exchange, "bound: what comes back to the queue keeps its routing key");
            return Ok(true);
        }
        Err(DeclareError::Failed { source, .. }) if !connection.is_open() => return Err(source),
        Err(refused) => refused,
    };
    debug!(%refused, queue, exchange, "cannot bind");
    if !stood && ask.exchange(exchange).await? {
        // what nobody bound leads nowhere
        let remove = Remove::open(connection).await?;
        if let Err(error) = remove.unused_exchange(exchange).await {
            debug!(%error, exchange, "an exchange without a binding stays");
        }
    }
    Ok(false)
}
