//! In: what happened to a message. Out: the span of it, if whoever published the message records a trace. Pure but for the
//! clock and random ids.
//!
//! What happens before the sleep is in the publisher's trace. Each attempt after it is a trace of its own, which is linked to
//! both: a span that lasted as long as the message sleeps would be open for months.

use dormouse_client::{TRACEPARENT, TRACESTATE, TraceContext};
use dormouse_core::clock::now_us;
use uuid::Uuid;

use super::event::Event;
use crate::message::as_text;
use crate::otel::{Attribute, Kind, Link, Span, new_span_id, new_trace_id, span_id_of};
use crate::schedule::DelayedMessage;

/// None for what is no work on the message, or nobody records.
pub(super) fn of(message: &DelayedMessage, event: Event<'_>) -> Option<Span> {
    let told = Told::of(event)?;
    let header = |name: &str| message.headers().get(name).and_then(as_text);
    let context = TraceContext::read(header(TRACEPARENT)?, header(TRACESTATE)).ok()?;
    context.is_sampled().then(|| told.span(message, &context))
}

/// An event that is worth a span.
enum Told {
    Scheduled { hops: u32 },
    BroughtBack { hops: u32 },
    Delivered { took_us: u64 },
    Failed { why: String },
    Dead,
    Dropped { cause: &'static str },
}

impl Told {
    fn of(event: Event<'_>) -> Option<Self> {
        Some(match event {
            Event::TakenIn { hops } => Self::Scheduled { hops },
            Event::TakenBack { hops, .. } => Self::BroughtBack { hops },
            Event::Delivered { took } => Self::Delivered { took_us: took.as_micros() as u64 },
            Event::AttemptFailed { cause, .. } => {
                Self::Failed { why: format!("{}: {}", cause.reason, cause.detail) }
            }
            Event::Dead => Self::Dead,
            Event::Dropped { cause } => Self::Dropped { cause: cause.as_str() },
            Event::Planned { .. }
            | Event::Recalled { .. }
            | Event::Parked { .. }
            | Event::WokeEarly { .. }
            | Event::PutBack
            | Event::Released { .. }
            | Event::Rescheduled { .. }
            | Event::BroughtForward { .. }
            | Event::Waits { .. }
            | Event::Doomed { .. }
            | Event::RefusedInside { .. }
            | Event::DlqRefused { .. }
            | Event::Refused { .. }
            | Event::Kept { .. }
            | Event::Moved { .. }
            | Event::NotMoved { .. } => return None,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Scheduled { .. } => "schedule",
            Self::BroughtBack { .. } => "bring back",
            Self::Delivered { .. } | Self::Failed { .. } => "deliver",
            Self::Dead => "dead-letter",
            Self::Dropped { .. } => "drop",
        }
    }

    fn span(self, message: &DelayedMessage, context: &TraceContext) -> Span {
        let stamp = &message.stamp;
        let (now, is_schedule) = (now_us(), matches!(self, Self::Scheduled { .. }));
        let begin_us = match &self {
            // its id was made then
            Self::Scheduled { .. } => made_us(&stamp.id).unwrap_or(now).min(now),
            Self::Delivered { took_us } => now.saturating_sub(*took_us),
            _ => now,
        };
        let error = match &self {
            Self::Failed { why } => Some(why.clone()),
            Self::Dead => {
                let failure = stamp.failure.as_ref();
                failure.map(|failure| format!("{}: {}", failure.reason, failure.detail))
            }
            _ => None,
        };
        let schedule = span_id_of(&stamp.id, "schedule");
        let (trace_id, span_id, parent_id, links) = if is_schedule {
            (context.trace_id(), schedule, Some(context.span_id()), Vec::new())
        } else {
            let state = context.tracestate().map(str::to_owned);
            let link =
                |span_id| Link { trace_id: context.trace_id(), span_id, state: state.clone() };
            let links = vec![link(context.span_id()), link(schedule)];
            (new_trace_id(), new_span_id(), None, links)
        };
        Span {
            trace_id,
            span_id,
            parent_id,
            name: format!("{} {}", self.name(), destination(message)),
            kind: if is_schedule { Kind::Consumer } else { Kind::Producer },
            begin_us,
            end_us: now,
            attributes: self.attributes(message),
            links,
            error,
        }
    }

    /// <https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/>
    fn attributes(&self, message: &DelayedMessage) -> Vec<(&'static str, Attribute)> {
        let stamp = &message.stamp;
        let text = |text: &str| Attribute::Text(text.to_owned());
        let number = |number: u64| Attribute::Number(i64::try_from(number).unwrap_or(i64::MAX));
        let mut attributes = vec![
            ("messaging.system", text("rabbitmq")),
            ("messaging.operation.name", text(self.name())),
            ("messaging.destination.name", text(&stamp.target.exchange)),
            ("messaging.rabbitmq.destination.routing_key", text(&stamp.target.routing_key)),
            ("messaging.message.body.size", number(message.body_bytes() as u64)),
            ("dormouse.id", text(&stamp.id)),
            ("dormouse.due_ms", number(stamp.due.0)),
            ("dormouse.attempt", number(stamp.attempt.into())),
        ];
        if let Some(id) = message.message_id() {
            attributes.push(("messaging.message.id", text(id)));
        }
        match self {
            Self::Scheduled { hops } | Self::BroughtBack { hops } => {
                attributes.push(("dormouse.hops", number((*hops).into())));
            }
            Self::Dropped { cause } => attributes.push(("dormouse.cause", text(cause))),
            Self::Delivered { .. } | Self::Failed { .. } | Self::Dead => {}
        }
        attributes
    }
}

/// The queue, where that is what a routing key names.
fn destination(message: &DelayedMessage) -> &str {
    let target = &message.stamp.target;
    if target.exchange.is_empty() { &target.routing_key } else { &target.exchange }
}

/// When an id of ours was made. None: it is not of ours.
fn made_us(id: &str) -> Option<u64> {
    let (seconds, nanos) = Uuid::try_parse(id).ok()?.get_timestamp()?.to_unix();
    seconds.checked_mul(1_000_000)?.checked_add(u64::from(nanos) / 1_000)
}
