//! Which queues have an exchange that leads back to them: a fanout of that queue alone, through which
//! a message comes back with its first routing key and `CC`.
//!
//! Whoever may binds it: an operator with `dormouse retry enable`, or a worker at the first sight of
//! the queue. Where nobody may, messages come back through the default exchange.
//!
//! A queue that is deleted leaves its exchange behind, and clients make and delete a queue for each of
//! theirs. So a worker that declares looks in turns whether the queues are still there, and deletes the
//! exchange of one that was gone at two looks, unless it is bound again. Not at one: by the second look
//! every worker has noticed, and none publishes to what is gone, which would close its channel. (An
//! auto-delete exchange would go in the middle of publishes.)

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use crate::amqp::declare::{DeclareError, declare};
use crate::amqp::inspector::Inspector;
use crate::amqp::remove::Remove;
use crate::amqp::{AmqpError, Connection};
use crate::topology::{self, Topology};

/// What is known of the exchanges. Pure.
#[derive(Debug, Default)]
pub struct RetryRoutes {
    known: BTreeMap<String, Standing>,
    /// The queue that was looked at last.
    looked_at: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It stands, and is bound as far as is known.
    Leads,
    /// There is none, or nobody could bind it: not looked at again before then.
    Missing { until: Instant },
    /// It returned a message, so its binding is gone with a queue that was deleted.
    Unbound,
    /// The queue was not there at the last look, or its exchange was deleted.
    Gone { deleted: bool },
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

impl RetryRoutes {
    /// Whether to look for the exchange of this queue before a message goes there.
    pub fn look(&self, queue: &str, now: Instant) -> Look {
        match self.known.get(queue) {
            Some(Standing::Leads) => Look::Nothing,
            Some(Standing::Missing { until }) if *until > now => Look::Nothing,
            Some(Standing::Missing { .. } | Standing::Gone { .. }) | None => Look::Find,
            Some(Standing::Unbound) => Look::Bind,
        }
    }

    /// Whether to send through the exchange of this queue. One that nobody looked for is tried: it
    /// tells by a return or a closed channel if it is not there.
    pub fn is_usable(&self, queue: &str, now: Instant) -> bool {
        match self.known.get(queue) {
            Some(Standing::Leads) | None => true,
            Some(Standing::Missing { until }) => *until <= now,
            Some(Standing::Unbound | Standing::Gone { .. }) => false,
        }
    }

    /// A message went through it.
    pub fn leads_on(&mut self, queue: &str) {
        if !self.known.contains_key(queue) {
            self.found(queue);
        }
    }

    /// The next queue to look for, in turns.
    pub fn next_to_look_for(&mut self) -> Option<String> {
        let is_looked_for = |standing: &Standing| {
            matches!(
                standing,
                Standing::Leads | Standing::Unbound | Standing::Gone { deleted: false }
            )
        };
        let after = (Bound::Excluded(self.looked_at.clone()), Bound::Unbounded);
        let in_turn = self.known.range(after).chain(&self.known);
        let next = in_turn.into_iter().find(|(_, standing)| is_looked_for(standing));
        let queue = next.map(|(queue, _)| queue.clone())?;
        self.looked_at.clone_from(&queue);
        Some(queue)
    }

    /// The queue is there.
    pub fn stands(&mut self, queue: &str) {
        if matches!(self.known.get(queue), Some(Standing::Gone { .. })) {
            self.known.remove(queue);
        }
    }

    /// The queue is not there; says whether that was so at the look before, so that its exchange may go.
    pub fn gone(&mut self, queue: &str) -> bool {
        let deleted = matches!(self.known.get(queue), Some(Standing::Gone { .. }));
        self.note(queue, Standing::Gone { deleted });
        deleted
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
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
    Inspector::open(connection).await?.exchange(exchange).await
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
    let mut inspector = Inspector::open(connection).await?;
    let stood = inspector.exchange(exchange).await?;
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
            info!(name: "retry-way-back-bound", queue, exchange, "bound: what comes back to the queue keeps its routing key");
            return Ok(true);
        }
        Err(DeclareError::Failed { source, .. }) if !connection.is_open() => return Err(source),
        Err(refused) => refused,
    };
    debug!(%refused, queue, exchange, "cannot bind");
    if !stood && inspector.exchange(exchange).await? {
        // what nobody bound leads nowhere
        let remove = Remove::open(connection).await?;
        if let Err(error) = remove.unused_exchange(exchange).await {
            debug!(%error, exchange, "an exchange without a binding stays");
        }
    }
    Ok(false)
}
