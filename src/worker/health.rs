//! What `/readyz` answers.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The state of a worker as others see it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    connected: AtomicBool,
    blocked: AtomicBool,
    stopping: AtomicBool,
    /// Exchanges that somebody deleted, and that are not declared again.
    missing: Mutex<Vec<String>>,
}

impl Health {
    /// Ready, or why not.
    pub fn ready(&self) -> Result<(), Cow<'static, str>> {
        if self.0.stopping.load(Ordering::Relaxed) {
            Err("stopping".into())
        } else if !self.is_connected() {
            Err("not connected to RabbitMQ".into())
        } else if self.0.blocked.load(Ordering::Relaxed) {
            Err("RabbitMQ blocks publishes: a memory or disk alarm".into())
        } else {
            self.nothing_missing()
        }
    }

    fn nothing_missing(&self) -> Result<(), Cow<'static, str>> {
        let missing = self.0.missing.lock().expect("no panic while noting names");
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.join(", ");
        Err(format!("exchanges are missing: {names}; `dormouse topology apply` makes them").into())
    }

    pub(super) fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    pub(super) fn set_missing(&self, exchanges: Vec<String>) {
        *self.0.missing.lock().expect("no panic while noting names") = exchanges;
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.0.connected.store(connected, Ordering::Relaxed);
    }

    pub(super) fn set_blocked(&self, blocked: bool) {
        self.0.blocked.store(blocked, Ordering::Relaxed);
    }

    pub(super) fn set_stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }
}
