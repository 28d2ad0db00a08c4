//! Notices within seconds that an exchange of ours was deleted, and declares it again where it may. What
//! is published to a delay exchange that is gone is refused, what is rejected into a retry exchange that
//! is gone is lost, and nobody tells.
//!
//! A binding cannot be seen over AMQP. A delay exchange or retry exchange without one leads to its
//! alternate exchange, whose queue is read; so bindings are made again each time something was parked or
//! was missing, and besides now and then.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{Health, Shared};
use crate::amqp::declare::declare;
use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection};
use crate::topology::Topology;

/// How often exchanges are looked for: a question each, which RabbitMQ answers from memory.
const LOOK: Duration = Duration::from_secs(3);

/// How often bindings are made again unasked: RabbitMQ 4 writes each to its log, redundant or not.
const BIND: Duration = Duration::from_secs(30);

/// How often trouble that stays is logged.
const TELL: Duration = Duration::from_secs(60);

pub(super) struct Doors {
    all: Topology,
    /// What clients reach.
    doors: Topology,
    may_declare: bool,
    look_at: Instant,
    bind_at: Instant,
    told_at: Option<Instant>,
}

impl Doors {
    pub fn of(shared: &Shared) -> Self {
        let config = &shared.config;
        let all = Topology::of(config);
        let now = Instant::now();
        Self {
            doors: all.unversioned(&config.topology.namespace),
            all,
            may_declare: config.topology.declare,
            look_at: now,
            bind_at: now + BIND,
            told_at: None,
        }
    }

    /// Looks if it is time, or if a part asks for it, since a message found a hole.
    ///
    /// Errors: the connection is gone.
    pub async fn tend(
        &mut self,
        asked: bool,
        connection: &Connection,
        inspector: &mut Inspector<'_>,
        health: &Health,
    ) -> Result<(), AmqpError> {
        let now = Instant::now();
        if !asked && now < self.look_at {
            return Ok(());
        }
        self.look_at = now + LOOK;
        let mut missing = inspector.missing_exchanges(&self.all).await?;
        let wanted = match (self.may_declare, asked || !missing.is_empty(), now >= self.bind_at) {
            (true, true, _) => Some(&self.all),
            (true, false, true) => Some(&self.doors),
            (true, false, false) | (false, _, _) => None,
        };
        let mut refused = None;
        if let Some(wanted) = wanted {
            self.bind_at = now + BIND;
            refused = declare(connection, wanted).await.err();
            if refused.is_none() && !missing.is_empty() {
                info!(name: "topology-declared-again", exchanges = missing.join(", "), "was deleted, and is declared again");
                missing.clear();
            }
        }
        self.tell(&missing, refused.map(|error| error.to_string()), now);
        metrics::gauge!("dormouse_missing_objects").set(missing.len() as f64);
        health.set_missing(missing);
        Ok(())
    }

    fn tell(&mut self, missing: &[String], refused: Option<String>, now: Instant) {
        if missing.is_empty() && refused.is_none() {
            self.told_at = None;
        } else if self.told_at.is_none_or(|told| now >= told + TELL) {
            self.told_at = Some(now);
            warn!(
                name: "topology-missing",
                exchanges = missing.join(", "),
                problem = refused.unwrap_or_else(|| "topology.declare is false".into()),
                "a part of the topology is missing and is not declared: what is published there is \
                 refused, what is rejected there is lost; `dormouse topology apply` makes it"
            );
        }
    }
}
