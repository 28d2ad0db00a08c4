//! Which trace the code that runs now belongs to.

use std::future::Future;

use tracing::{Instrument, Span, debug, info_span};

use super::trace::{TRACEPARENT, TRACESTATE, TraceContext};
use crate::message::{Headers, as_text};

tokio::task_local! {
    /// The handler's own span, while it runs.
    static CURRENT: TraceContext;
}

/// The trace of the handler that runs now: what it publishes and calls continues it. `None` outside of
/// a handler, and in tasks that a handler spawns.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(Clone::clone).ok()
}

/// What a message that is published now carries: the trace of the handler under way; else, if somebody
/// records spans here, a new one that is written to the log of the present span.
pub(super) fn outgoing() -> Option<TraceContext> {
    if let Some(handler) = current() {
        return Some(handler);
    }
    let span = Span::current();
    if span.is_none() {
        return None;
    }
    let root =
        TraceContext::root(fastrand::u128(..).to_be_bytes(), fastrand::u64(..).to_be_bytes());
    if let Some(root) = &root {
        debug!(trace_id = root.trace_id(), span_id = root.span_id(), "a trace begins");
    }
    root
}

/// The trace that a delivered message carries, if its header can be read.
pub(super) fn incoming(headers: &Headers) -> Option<TraceContext> {
    let header = |name: &str| headers.get(name).and_then(as_text);
    let read = TraceContext::read(header(TRACEPARENT)?, header(TRACESTATE));
    read.inspect_err(|fault| debug!(%fault, "the header traceparent is passed over")).ok()
}

/// Runs a handler in a span of its own below the message's.
pub(super) async fn within<Handled: Future>(
    trace: Option<&TraceContext>,
    queue: &str,
    id: &str,
    attempt: u32,
    handled: Handled,
) -> Handled::Output {
    let Some(trace) = trace else {
        return handled.instrument(info_span!("handle", queue, id, attempt)).await;
    };
    let own = trace.child(fastrand::u64(..).to_be_bytes());
    let (trace_id, parent_id, span_id) = (trace.trace_id(), trace.span_id(), own.span_id());
    let span = info_span!("handle", queue, id, attempt, trace_id, parent_id, span_id);
    CURRENT.scope(own, handled.instrument(span)).await
}
