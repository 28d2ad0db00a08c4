//! How many channels a session opens. Pure.
//!
//! RabbitMQ ends a connection that opens one channel too many, whether the connection agreed on fewer
//! (`channel_max`) or its user, or the node, has too many open in all. So a session stays within what was
//! agreed, and within what earlier sessions of the process were refused at.
//! <https://www.rabbitmq.com/docs/channels#channel-max>, <https://www.rabbitmq.com/docs/user-limits>

use crate::amqp::declare::channels_to_declare;
use crate::amqp::isolating;

/// What each connection may have open, and what its parts make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    pub consuming: usize,
    pub publishing: usize,
    /// What is held is spread over so many.
    pub spread: usize,
    /// Exchanges tried at once.
    pub probes: usize,
    /// To targets, given up and waited for.
    pub retired: usize,
}

/// Probes at once where there are channels enough.
const PROBES: usize = 4;

/// Beside the spread: intake and retry, the watch, and a sweep's mark, look and move.
const BESIDE_SPREAD: usize = 6;
/// Beside the probes: the ways inward of intake, retry and delivery, the one to targets, and three that come
/// and go: of a sweep, of a look for the way back, and of one that is replaced.
const BESIDE_PROBES: usize = 7;
/// Given up at once where there are channels enough.
const RETIRED: usize = 4;
/// More of those that come and go, where there are channels enough: of the ways inward and the sweep all but
/// the first, the sweep's first and its look, and those given up; three of them are counted above.
const SPARE: usize = 4 * (isolating::MOST_CHANNELS - 1) + 2 + RETIRED - 3;

/// The fewest that a connection can do with.
pub const LEAST: usize = 8;

/// The fewest that a session has open on each connection when all its parts run, those that come and go not
/// all at once: with fewer it is refused in the middle of its work, again and again.
pub const AT_WORK: usize = 6;

impl Channels {
    /// `agreed` is what each connection agreed on, consuming and publishing; `in_all` what they may have
    /// open together, if that is known. None: a connection has fewer than it needs.
    pub fn within(agreed: (usize, usize), in_all: Option<usize>) -> Option<Self> {
        let in_all = in_all.unwrap_or(usize::MAX).max(2 * LEAST);
        let wanted = BESIDE_PROBES + PROBES + SPARE;
        let publishing = (in_all / 2).min(wanted).min(agreed.1);
        let consuming = (in_all - publishing).min(agreed.0);
        if publishing < LEAST || consuming < LEAST {
            return None;
        }
        let probes = (publishing - BESIDE_PROBES).min(PROBES);
        Some(Self {
            consuming,
            publishing,
            spread: consuming - BESIDE_SPREAD - channels_to_declare(consuming),
            probes,
            retired: (publishing - BESIDE_PROBES - probes).clamp(1, RETIRED),
        })
    }

    /// What to allow in all after a refusal at `limit`, which others may have a part in: each refusal asks for
    /// fewer, down to what a worker needs.
    pub fn after(limit: usize, before: Option<usize>) -> usize {
        let fewer = before.map_or(usize::MAX, |before| before - before / 4);
        limit.min(fewer).max(2 * LEAST)
    }
}
