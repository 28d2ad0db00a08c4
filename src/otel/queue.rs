//! Spans that have ended and are not sent yet: one queue a process, as there is one exporter.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::span::Span;

/// Some seconds of a busy worker, and 10 MiB at most. More are given up, the newest first.
const MOST: usize = 20_000;

static SPANS: Mutex<VecDeque<Span>> = Mutex::new(VecDeque::new());
static IS_SENT: AtomicBool = AtomicBool::new(false);
static GIVEN_UP: AtomicU64 = AtomicU64::new(0);

/// Takes a span, unless nobody sends any; `span` is not made then. Never waits.
pub fn record(span: impl FnOnce() -> Option<Span>) {
    if !IS_SENT.load(Ordering::Relaxed) {
        return;
    }
    let Some(span) = span() else { return };
    let mut spans = SPANS.lock().expect("no panic while queueing a span");
    if spans.len() < MOST {
        spans.push_back(span);
    } else {
        GIVEN_UP.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether somebody sends them from now on.
pub(super) fn set_sent(is_sent: bool) {
    IS_SENT.store(is_sent, Ordering::Relaxed);
}

/// The next ones, at most so many.
pub(super) fn take(most: usize) -> Vec<Span> {
    let mut spans = SPANS.lock().expect("no panic while queueing a span");
    let count = spans.len().min(most);
    spans.drain(..count).collect()
}

/// How many were given up since the last question.
pub(super) fn given_up() -> u64 {
    GIVEN_UP.swap(0, Ordering::Relaxed)
}
