//! What `/readyz` answers.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// The state of a worker as others see it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    connected: AtomicBool,
    stopping: AtomicBool,
    /// Exchanges that somebody deleted, and that are not declared again.
    missing: Mutex<Vec<String>>,
    /// One bit for each [`Trouble`].
    troubles: AtomicU32,
}

/// What a connected worker cannot work around, and somebody has to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Blocked,
    DlqRefuses,
    InsideRefuses,
}

impl Trouble {
    /// The first is told.
    const ALL: [Trouble; 3] = [Trouble::Blocked, Trouble::InsideRefuses, Trouble::DlqRefuses];

    fn bit(self) -> u32 {
        1 << self as u32
    }

    fn text(self) -> &'static str {
        match self {
            Trouble::Blocked => "RabbitMQ blocks publishes: a memory or disk alarm",
            Trouble::DlqRefuses => {
                "the DLQ refuses messages: it is full by a policy, or unavailable; what is dead sleeps until \
                 it has room"
            }
            Trouble::InsideRefuses => {
                "a queue of ours refuses messages: it is full by a policy, unavailable, or not bound"
            }
        }
    }
}

impl Health {
    /// Ready, or why not.
    pub fn ready(&self) -> Result<(), Cow<'static, str>> {
        if self.0.stopping.load(Ordering::Relaxed) {
            return Err("stopping".into());
        }
        if !self.is_connected() {
            return Err("not connected to RabbitMQ".into());
        }
        let troubles = self.0.troubles.load(Ordering::Relaxed);
        let first = Trouble::ALL.into_iter().find(|trouble| troubles & trouble.bit() != 0);
        first.map_or_else(|| self.nothing_missing(), |trouble| Err(trouble.text().into()))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    fn nothing_missing(&self) -> Result<(), Cow<'static, str>> {
        let missing = self.0.missing.lock().expect("no panic while noting names");
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.join(", ");
        Err(format!("exchanges are missing: {names}; `dormouse topology apply` makes them").into())
    }

    pub(super) fn set_missing(&self, exchanges: Vec<String>) {
        *self.0.missing.lock().expect("no panic while noting names") = exchanges;
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.0.connected.store(connected, Ordering::Relaxed);
    }

    pub(super) fn set_trouble(&self, trouble: Trouble, is_there: bool) {
        if is_there {
            self.0.troubles.fetch_or(trouble.bit(), Ordering::Relaxed);
        } else {
            self.0.troubles.fetch_and(!trouble.bit(), Ordering::Relaxed);
        }
    }

    /// A process without a worker has nothing to wait for.
    pub(crate) fn set_ready_without_worker(&self) {
        self.set_connected(true);
    }

    pub(super) fn set_stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }
}
