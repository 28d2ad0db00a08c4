//! The worker may write where a publisher may not, so it never lends that: every destination, the
//! primary and each `CC`, is checked at delivery, whoever stamped it.

use regex::RegexSet;

use super::delayed_message::DelayedMessage;
use super::headers::TARGET_EXCHANGE;
use super::stamp::Target;
use crate::settings::Config;

/// Which targets the operator opened.
#[derive(Debug, Clone)]
pub struct Authority {
    /// `dormouse.`: every name of ours begins so, or is a delay exchange.
    own_prefix: String,
    delay_exchanges: Vec<String>,
    exchanges: Vec<String>,
    /// Those of them that a message may name in its header.
    header_exchanges: Vec<String>,
    queues: RegexSet,
}

/// Why a destination is refused: a sentence that names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An exchange that no delay exchange is for, named by its stamp.
    #[error(
        "exchange {0:?} is not open to delayed messages: add it to targets.header_exchanges or as a delay exchange's target"
    )]
    ExchangeNotOpened(String),
    /// A name of Dormouse's.
    #[error("{kind} {name:?} is Dormouse's own and no target")]
    Own {
        /// Exchange or queue.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A name of RabbitMQ's.
    #[error("{kind} {name:?} is RabbitMQ's own (amq.*) and no target")]
    Reserved {
        /// Exchange or queue.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An exchange that only a header names.
    #[error("header {TARGET_EXCHANGE} names {0:?}, which is not in targets.header_exchanges")]
    HeaderNotOpened(String),
    /// A queue that the operator did not open.
    #[error("queue {0:?} matches none of targets.queues")]
    QueueNotOpened(String),
}

impl Authority {
    /// From a checked configuration, whose patterns are known to compile.
    pub fn new(config: &Config) -> Result<Self, regex::Error> {
        let targets = config.delay_exchanges.iter().map(|delay| delay.target_exchange.clone());
        Ok(Self {
            own_prefix: format!("{}.", config.topology.namespace),
            delay_exchanges: config
                .delay_exchanges
                .iter()
                .map(|delay| delay.name.clone())
                .collect(),
            exchanges: targets.chain(config.targets.header_exchanges.iter().cloned()).collect(),
            header_exchanges: config.targets.header_exchanges.clone(),
            queues: RegexSet::new(&config.targets.queues)?,
        })
    }

    /// Whether a message may go where its stamp says.
    pub fn check_delayed(&self, delayed: &DelayedMessage) -> Result<(), Refusal> {
        self.check_entry(delayed)?;
        match &delayed.stamp.retry_state {
            Some(_) => Ok(()),
            None => self.check(&delayed.stamp.target),
        }
    }

    /// What is asked when a message is taken in: whether it may go back to its queue, or name the exchange
    /// that its header names. The rest waits until delivery, as targets may be opened meanwhile.
    pub fn check_entry(&self, delayed: &DelayedMessage) -> Result<(), Refusal> {
        match &delayed.stamp.retry_state {
            Some(retry_state) => self.check_queue(&retry_state.queue),
            None => self.check_header(delayed),
        }
    }

    /// Whether it may name the exchange that its header names, if it has one. Asked at delivery too:
    /// the same exchange may be open to a delay exchange, and the stamp does not tell which way it came.
    fn check_header(&self, delayed: &DelayedMessage) -> Result<(), Refusal> {
        let exchange = &delayed.stamp.target.exchange;
        let named = delayed.headers().contains_key(TARGET_EXCHANGE);
        if named && !self.header_exchanges.contains(exchange) {
            return Err(Refusal::HeaderNotOpened(exchange.clone()));
        }
        Ok(())
    }

    /// Whether a message may go to `target`; the routing keys name queues on the default exchange.
    pub fn check(&self, target: &Target) -> Result<(), Refusal> {
        let exchange = &target.exchange;
        if !exchange.is_empty() {
            self.check_name("exchange", exchange)?;
        }
        if !self.exchanges.contains(exchange) {
            return Err(Refusal::ExchangeNotOpened(exchange.clone()));
        }
        if exchange.is_empty() {
            let cc = target.cc.iter().map(ToString::to_string);
            for queue in std::iter::once(target.routing_key.clone()).chain(cc) {
                self.check_queue(&queue)?;
            }
        }
        Ok(())
    }

    /// Whether a message may go to this queue.
    pub fn check_queue(&self, queue: &str) -> Result<(), Refusal> {
        self.check_name("queue", queue)?;
        if self.queues.is_match(queue) {
            Ok(())
        } else {
            Err(Refusal::QueueNotOpened(queue.to_owned()))
        }
    }

    fn check_name(&self, kind: &'static str, name: &str) -> Result<(), Refusal> {
        let name_owned = || name.to_owned();
        if name.starts_with(&self.own_prefix) || self.delay_exchanges.iter().any(|own| own == name)
        {
            return Err(Refusal::Own { kind, name: name_owned() });
        }
        if name.starts_with("amq.") {
            return Err(Refusal::Reserved { kind, name: name_owned() });
        }
        Ok(())
    }
}
