//! A message that is due, on its way to its target: where it is published, what it counts against, and why it
//! failed.

use std::borrow::Cow;
use std::time::Instant;

use super::in_flight::InFlight;
use crate::amqp::{Closed, Outcome, Refused};
use crate::message::Message;
use crate::schedule::{Cause, Reason, Stamp};

/// A message that is due, on its way to its target.
#[derive(Debug)]
pub struct TargetPublish {
    /// The due queue's delivery.
    pub from: InFlight,
    /// The exchange that leads back to its queue, if it goes back to one and that is known to work.
    pub back: Option<String>,
    pub sent: Instant,
    /// It was outstanding when the shared channel closed over a message, perhaps this one: it goes
    /// alone from now on.
    pub alone: bool,
    /// It counts against its target's share of the window.
    pub shared: bool,
}

impl TargetPublish {
    fn stamp(&self) -> &Stamp {
        &self.from.message.stamp
    }

    pub fn exchange(&self) -> &str {
        match (&self.back, &self.stamp().retry_state) {
            (Some(back), _) => back,
            (None, Some(_)) => "",
            (None, None) => &self.stamp().target.exchange,
        }
    }

    /// What a share of the window is for: the queue on the default exchange, else the exchange.
    pub fn share(&self) -> &str {
        match (self.exchange(), &self.stamp().retry_state) {
            ("", Some(retry_state)) => &retry_state.queue,
            ("", None) => &self.stamp().target.routing_key,
            (exchange, _) => exchange,
        }
    }

    /// The routing keys that topic permissions look at.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let target = &self.stamp().target;
        let cc = target.cc.iter().map(|key| String::from_utf8_lossy(key.as_bytes()));
        std::iter::once(Cow::from(&target.routing_key)).chain(cc)
    }

    pub fn message(&self) -> Message {
        let message = &self.from.message;
        match &self.stamp().retry_state {
            Some(retry_state) => message.at_queue(retry_state, self.back.as_deref()),
            None => message.to_target(),
        }
    }
}

/// Why a delivery failed whose publish had this outcome; none if the target has it.
pub fn cause_of(outcome: &Outcome) -> Option<Cause> {
    let (reason, detail) = match outcome {
        Outcome::Confirmed => return None,
        Outcome::Returned { code, text } => (
            Reason::Unroutable,
            format!("RabbitMQ returned it: {code} {text}, no queue is bound for its routing key"),
        ),
        Outcome::Nacked => (
            Reason::Nacked,
            "RabbitMQ rejected it (basic.nack): a target queue is full with reject-publish, or unavailable"
                .to_owned(),
        ),
        Outcome::Unknown(closed) => return Some(closed_over(closed)),
    };
    Some(Cause { reason, detail })
}

/// Why it failed, if RabbitMQ closed its channel over it.
pub fn closed_over(closed: &Closed) -> Cause {
    let Closed { code, text } = closed;
    let reason = match closed.refused() {
        Refused::Message => Reason::Rejected,
        Refused::Exchange if *code == 404 => Reason::ExchangeNotFound,
        Refused::Exchange | Refused::Key { .. } => Reason::AccessRefused,
    };
    Cause { reason, detail: format!("RabbitMQ closed the channel: {code} {text}") }
}

/// Why a delivery failed that RabbitMQ said nothing about.
pub fn timed_out() -> Cause {
    let detail = "RabbitMQ did not confirm it in time; it may have arrived all the same".to_owned();
    Cause { reason: Reason::TimedOut, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_one_reason() {
        let closed = |code, text: &str| Outcome::Unknown(Closed { code, text: text.into() });
        let topic = "ACCESS_REFUSED - access to topic 'k' in exchange 'e' in vhost 'v' refused";
        for (outcome, reason) in [
            (Outcome::Confirmed, None),
            (Outcome::Returned { code: 312, text: "NO_ROUTE".into() }, Some(Reason::Unroutable)),
            (Outcome::Nacked, Some(Reason::Nacked)),
            (closed(404, "no exchange"), Some(Reason::ExchangeNotFound)),
            (closed(403, "access to exchange"), Some(Reason::AccessRefused)),
            (closed(403, topic), Some(Reason::AccessRefused)),
            (closed(406, "too large"), Some(Reason::Rejected)),
            (closed(0, "gone"), Some(Reason::Rejected)),
        ] {
            assert_eq!(cause_of(&outcome).map(|cause| cause.reason), reason, "{outcome:?}");
        }
    }
}
