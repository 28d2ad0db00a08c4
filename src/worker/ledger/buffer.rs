//! In: events, in the order in which they are noted. Out: numbered batches, one at a time, and how far the stream has
//! them. Pure.
//!
//! An event is offered once, and then in one of four places: waiting, in the batch under way, confirmed, or given up.
//! What is given up is told as one `gap` in its place, so nothing is missing without a trace.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_core::ledger::{Batch, Event, Line};

use crate::schedule::UnixMs;

/// Somebody waits for it: it waits so long for company, which costs RabbitMQ and the worker less.
pub const GATHER: Duration = Duration::from_millis(10);
/// So many that somebody waits for are company enough.
pub const GATHERED: usize = 64;
/// The same for what nobody waits for.
pub const GATHER_LAZY: Duration = Duration::from_millis(100);
/// Lines of a batch, and about how large it is. The publish of a larger one would hold up what is behind it.
pub const BATCH_LINES: usize = 1_000;
const BATCH_BYTES: usize = 256 * 1024;
/// A writer says so often that it is there.
pub const BEAT: Duration = Duration::from_secs(10);
/// Later than this the stream takes nothing, or too little: nobody waits for it any more.
pub const STALL: Duration = Duration::from_secs(2);
/// So short a wait again, and it is healed.
const HEALED: Duration = Duration::from_secs(1);
/// What waits at most: some seconds of all that a worker can do, and some 30 MB.
const MOST_LINES: usize = 100_000;
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Of a line beside its texts, in JSON as in memory.
const BESIDE_TEXTS: usize = 160;

/// How far the stream has what was offered. Events are counted from the first one that was offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// All up to this one are confirmed, or told as given up.
    pub settled: u64,
    /// The stream takes nothing, or too little, for too long: nobody is to wait for it.
    pub stalled: bool,
}

/// What waits for the stream, and the batch under way.
#[derive(Debug)]
pub struct Buffer {
    writer: String,
    most_lines: usize,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Of those that somebody waits for: how many, and since when.
    urgent: usize,
    urgent_since: Option<Instant>,
    /// Given up since the last gap was put among those that wait.
    given_up: Option<GivenUp>,
    under_way: Option<UnderWay>,
    next_batch: u64,
    taken_at: Option<Instant>,
    offered: u64,
    progress: Progress,
    counts: Counts,
    ending: Ending,
}

/// What became of all that was offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the stream.
    pub noted: u64,
    /// Not, and it is told or will be.
    pub given_up: u64,
}

#[derive(Debug)]
struct Waiting {
    line: Line,
    /// Events that it stands for: of a gap all that were given up.
    events: u64,
    bytes: usize,
    urgent: bool,
    since: Instant,
}

#[derive(Debug)]
struct GivenUp {
    events: u64,
    since: UnixMs,
    came: Instant,
}

#[derive(Debug)]
struct UnderWay {
    batch: Arc<Batch>,
    /// Events that it stands for, and those of them that are lines.
    events: u64,
    lines: u64,
    since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    Asked,
    /// The last batch is under way.
    Last,
    Done,
}

impl Buffer {
    /// Of a writer of that name, which no other has, or had.
    pub fn new(writer: String) -> Self {
        Self::bounded(writer, MOST_LINES)
    }

    /// The same, for so many lines at most.
    pub fn bounded(writer: String, most_lines: usize) -> Self {
        Self {
            writer,
            most_lines: most_lines.max(2),
            waiting: VecDeque::new(),
            bytes: 0,
            urgent: 0,
            urgent_since: None,
            given_up: None,
            under_way: None,
            next_batch: 1,
            taken_at: None,
            offered: 0,
            progress: Progress::default(),
            counts: Counts::default(),
            ending: Ending::No,
        }
    }

    /// Takes an event, or gives it up for want of room. `urgent`: somebody waits until it is confirmed.
    ///
    /// True: when to look again has come nearer.
    pub fn offer(&mut self, line: Line, urgent: bool, now: Instant) -> bool {
        self.offered += 1;
        let bytes = bytes_of(&line.event);
        let was_empty = self.waiting.is_empty();
        self.tell_gap(false);
        let is_full = self.waiting.len() >= self.most_lines || self.bytes + bytes > MOST_BYTES;
        if is_full || self.given_up.is_some() {
            self.counts.given_up += 1;
            let gap = GivenUp { events: 0, since: line.at, came: now };
            self.given_up.get_or_insert(gap).events += 1;
            return false;
        }
        self.push(Waiting { line, events: 1, bytes, urgent, since: now });
        // the first of its kind, or one that completes a batch
        was_empty
            || urgent && matches!(self.urgent, 1 | GATHERED)
            || self.waiting.len() == BATCH_LINES
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.bytes;
        if waiting.urgent {
            self.urgent += 1;
            self.urgent_since.get_or_insert(waiting.since);
        }
        self.waiting.push_back(waiting);
    }

    /// What was given up is told when there is room for more than that: not one gap for every other event.
    fn tell_gap(&mut self, at_once: bool) {
        let has_room = self.waiting.len() <= self.most_lines / 2 && self.bytes <= MOST_BYTES / 2;
        if (has_room || at_once)
            && let Some(GivenUp { events, since, came }) = self.given_up.take()
        {
            let line = Line { at: since, event: Event::Gap { events, since } };
            self.push(Waiting { line, events, bytes: BESIDE_TEXTS, urgent: false, since: came });
        }
    }

    /// When the next batch is to be taken, if nothing else is offered; none while one is under way.
    pub fn due_at(&self, now: Instant) -> Option<Instant> {
        if self.under_way.is_some() || self.ending == Ending::Done {
            return None;
        }
        // the first says that it is there
        let Some(taken_at) = self.taken_at else { return Some(now) };
        let oldest = self.waiting.front().map(|waiting| waiting.since);
        let is_complete = self.urgent >= GATHERED || self.waiting.len() >= BATCH_LINES;
        let at = [
            Some(taken_at + BEAT),
            oldest.map(|since| since + GATHER_LAZY),
            self.urgent_since.map(|since| since + GATHER),
            oldest.filter(|_| is_complete),
            Some(taken_at).filter(|_| self.ending == Ending::Asked),
        ];
        at.into_iter().flatten().min()
    }

    /// The next batch to publish, if one is due. There is none while one is under way.
    pub fn take(&mut self, now: Instant, at: UnixMs) -> Option<Arc<Batch>> {
        if self.due_at(now).is_none_or(|due| due > now) {
            return None;
        }
        // at an end it has its place behind all others
        self.tell_gap(self.ending != Ending::No);
        let since = self.waiting.front().map(|waiting| waiting.since);
        let (mut lines, mut bytes, mut events, mut noted) = (Vec::new(), 0, 0, 0);
        while lines.len() < BATCH_LINES
            && bytes < BATCH_BYTES
            && let Some(one) = self.waiting.pop_front()
        {
            self.bytes -= one.bytes;
            self.urgent -= usize::from(one.urgent);
            bytes += one.bytes;
            events += one.events;
            noted += u64::from(!matches!(one.line.event, Event::Gap { .. }));
            lines.push(one.line);
        }
        if self.ending == Ending::Asked && self.waiting.is_empty() {
            lines.push(Line { at, event: Event::Ended });
            self.ending = Ending::Last;
        }
        self.urgent_since = match self.urgent {
            0 => None,
            _ => self.waiting.iter().find(|one| one.urgent).map(|one| one.since),
        };
        let batch = Batch { writer: self.writer.clone(), batch: self.next_batch, at, lines };
        let batch = Arc::new(batch);
        self.next_batch += 1;
        self.taken_at = Some(now);
        self.under_way = Some(UnderWay { batch: batch.clone(), events, lines: noted, since });
        Some(batch)
    }

    /// The batch that was taken and is not confirmed: to be published again as it is, after whatever happened.
    pub fn under_way(&self) -> Option<Arc<Batch>> {
        self.under_way.as_ref().map(|under_way| under_way.batch.clone())
    }

    /// The stream has the batch that was under way. How many events are noted by that.
    pub fn confirmed(&mut self) -> u64 {
        let Some(UnderWay { events, lines, .. }) = self.under_way.take() else { return 0 };
        self.progress.settled += events;
        self.counts.noted += lines;
        if self.ending == Ending::Last {
            self.ending = Ending::Done;
        }
        lines
    }

    /// RabbitMQ refuses the batch under way, and would again: its events are given up, and it becomes a gap. How
    /// many were given up by that; none if there is nothing to give up.
    pub fn give_up(&mut self) -> u64 {
        let Some(UnderWay { batch, events, lines, .. }) = &mut self.under_way else { return 0 };
        let batch = Arc::make_mut(batch);
        let since = batch.lines.iter().map(|line| line.at).min().unwrap_or(batch.at);
        batch.lines.retain(|line| line.event == Event::Ended);
        if *events > 0 {
            let gap = Event::Gap { events: *events, since };
            batch.lines.insert(0, Line { at: since, event: gap });
        }
        let given_up = std::mem::take(lines);
        self.counts.given_up += given_up;
        given_up
    }

    /// Looks how long the oldest event has been waiting. True: whether it stalls has changed.
    pub fn look(&mut self, now: Instant) -> bool {
        let lag = self.lag(now);
        let limit = if self.progress.stalled { HEALED } else { STALL };
        std::mem::replace(&mut self.progress.stalled, lag > limit) != (lag > limit)
    }

    /// How long the oldest event that the stream does not have has been waiting.
    pub fn lag(&self, now: Instant) -> Duration {
        let under_way = self.under_way.as_ref().and_then(|under_way| under_way.since);
        let oldest = under_way.or(self.waiting.front().map(|waiting| waiting.since));
        oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Nothing is offered any more: all that waits is to be taken at once, and then `ended`.
    pub fn end(&mut self) {
        if self.ending == Ending::No {
            self.ending = Ending::Asked;
        }
    }

    /// Whether `ended` is confirmed.
    pub fn is_done(&self) -> bool {
        self.ending == Ending::Done
    }

    /// How many were offered so far. Whoever waits for the last of them waits until so many are settled.
    pub fn offered(&self) -> u64 {
        self.offered
    }

    /// How far the stream has them.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What became of them.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Events that wait, those of the batch under way included.
    pub fn len(&self) -> usize {
        let under_way = self.under_way.as_ref().map_or(0, |under_way| under_way.batch.lines.len());
        self.waiting.len() + under_way
    }

    /// Nothing was offered, and no batch taken.
    pub fn is_untouched(&self) -> bool {
        self.offered == 0 && self.taken_at.is_none()
    }

    /// Whether the stream has all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.given_up.is_none()
    }
}

fn bytes_of(event: &Event) -> usize {
    let texts = match event {
        Event::Scheduled(asleep) | Event::Seen(asleep) => {
            let key = asleep.key.as_ref().map_or(0, String::len);
            asleep.id.len() + asleep.exchange.len() + asleep.routing_key.len() + key
        }
        Event::Failed { id, reason, detail, .. } | Event::Dead { id, reason, detail } => {
            id.len() + reason.len() + detail.len()
        }
        Event::Rescheduled { id, .. } | Event::Delivered { id, .. } => id.len(),
        Event::Dropped { id, cause } => id.len() + cause.len(),
        Event::KeyCancelled { key } | Event::KeyRescheduled { key, .. } => key.len(),
        Event::Gap { .. }
        | Event::CensusBegun
        | Event::CensusEnded { .. }
        | Event::Ended
        | Event::Unknown => 0,
    };
    BESIDE_TEXTS + texts
}
