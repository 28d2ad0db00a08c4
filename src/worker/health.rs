//! What `/readyz` answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The state of a worker as others see it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    connected: AtomicBool,
    blocked: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    /// Ready, or why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        if self.0.stopping.load(Ordering::Relaxed) {
            Err("stopping")
        } else if !self.0.connected.load(Ordering::Relaxed) {
            Err("not connected to RabbitMQ")
        } else if self.0.blocked.load(Ordering::Relaxed) {
            Err("RabbitMQ blocks publishes: a memory or disk alarm")
        } else {
            Ok(())
        }
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
