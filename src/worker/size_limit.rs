//! How large a body RabbitMQ takes, as far as its refusals tell: it names its limit to nobody, and an operator
//! may change it at any time.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;

use crate::schedule::DelayedMessage;

/// What the parts of a session know of it together.
#[derive(Debug)]
pub(super) struct SizeLimit {
    /// RabbitMQ has refused a body of so many bytes for its size.
    too_large_bytes: AtomicUsize,
    /// One as large was taken after all.
    raised: watch::Sender<()>,
}

impl Default for SizeLimit {
    fn default() -> Self {
        Self { too_large_bytes: AtomicUsize::new(usize::MAX), raised: watch::Sender::new(()) }
    }
}

impl SizeLimit {
    /// Whether RabbitMQ has refused as large a one: it goes alone, as it would close the channel of others.
    pub fn is_below(&self, message: &DelayedMessage) -> bool {
        message.body_bytes() >= self.too_large_bytes.load(Relaxed)
    }

    /// Notes the size, if that is what RabbitMQ refused it for.
    pub fn refused(&self, message: &DelayedMessage, answer: &str) {
        if is_about_size(answer) {
            self.too_large_bytes.fetch_min(message.body_bytes(), Relaxed);
        }
    }

    /// RabbitMQ took it: the limit was raised, if it was in the way.
    pub fn took(&self, message: &DelayedMessage) {
        if self.is_below(message) {
            self.too_large_bytes.store(usize::MAX, Relaxed);
            self.raised.send_replace(());
        }
    }

    /// Tells when it was raised.
    pub fn raises(&self) -> watch::Receiver<()> {
        self.raised.subscribe()
    }
}

/// "message size 2000000 is larger than configured max size 1000000" of `rabbit_channel:check_msg_size/3`.
pub(super) fn is_about_size(answer: &str) -> bool {
    answer.contains("message size")
}
