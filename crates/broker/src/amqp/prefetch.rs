//! How many deliveries to allow, by what they weigh. Pure.
//!
//! RabbitMQ counts prefetch in messages; memory is counted in bytes. A consumer begins with a small
//! prefetch and doubles it while it is full and light; when what it holds is too heavy, it shrinks.
//! A new prefetch needs a new consumer, which counts from zero: while it changes, up to the sum of the
//! old and the new may be unacknowledged.

/// The first prefetch: so many bodies may come before their weight is known.
const FIRST: u16 = 256;

/// What is unacknowledged now, and how much may be.
#[derive(Debug)]
pub struct Prefetch {
    max_bytes: u64,
    max: u16,
    now: u16,
    messages: u64,
    bytes: u64,
    frozen: bool,
}

impl Prefetch {
    /// For up to so many bytes of bodies.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, max: 1, now: 1, messages: 0, bytes: 0, frozen: false }
    }

    /// Counts messages only and stays as it is: another prefetch needs another consumer, and the
    /// deliveries of two come in no certain order.
    pub fn fixed() -> Self {
        Self { frozen: true, ..Self::new(u64::MAX) }
    }

    /// A consumer may go up to `max`.
    pub fn raise_limit(&mut self, max: u16) {
        self.max = self.max.max(max);
        self.now = if self.frozen { self.max } else { self.max.min(FIRST) };
    }

    /// The prefetch to ask for.
    pub fn now(&self) -> u16 {
        self.now
    }

    /// Counts a body in.
    pub fn delivered(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }

    /// Counts a body out.
    pub fn settled(&mut self, bytes: u64) {
        self.messages -= 1;
        self.bytes -= bytes;
    }

    /// No more may come: as many messages or bytes as are allowed at all.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes || (self.messages >= u64::from(self.now) && !self.may_grow())
    }

    /// Changes the prefetch, if that is due.
    pub fn adapt(&mut self) -> bool {
        let before = self.now;
        if self.frozen {
            return false;
        }
        if self.bytes > self.max_bytes {
            // half of what would fit at the present weight, as what is on its way comes too
            let fitting = self.messages * self.max_bytes / self.bytes / 2;
            self.now = self.now.min(u16::try_from(fitting).unwrap_or(u16::MAX)).max(1);
        } else if self.messages >= u64::from(self.now) && self.may_grow() {
            self.now = self.now.saturating_mul(2).min(self.max);
        }
        self.now != before
    }

    fn may_grow(&self) -> bool {
        self.now < self.max && self.bytes.saturating_mul(2) <= self.max_bytes
    }

    /// The consumers are stopping: no more changes.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }
}
