//! Requests under way, so that a stop waits for them and takes no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Notify;

use super::problem::{Kind, Problem};

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    under_way: AtomicUsize,
    is_closed: AtomicBool,
    left: Notify,
}

/// A request under way.
pub struct Pass(Arc<Inner>);

impl Gate {
    /// None once it is closed.
    pub fn enter(&self) -> Option<Pass> {
        // counted before it is looked, so that who closes it sees this one or this one sees that
        self.0.under_way.fetch_add(1, Ordering::SeqCst);
        let pass = Pass(self.0.clone());
        (!self.0.is_closed.load(Ordering::SeqCst)).then_some(pass)
    }

    /// Nobody enters any more.
    pub fn close(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
    }

    /// Waits until nobody is inside.
    pub async fn empty(&self) {
        loop {
            let left = self.0.left.notified();
            if self.0.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        self.0.left.notify_waiters();
    }
}

/// Around every route.
pub async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.enter() {
        Some(_pass) => next.run(request).await,
        None => {
            let detail = "the service is stopping and takes no more requests: ask another, or this one in a moment";
            Problem::new(Kind::Stopping, detail).into_response()
        }
    }
}
