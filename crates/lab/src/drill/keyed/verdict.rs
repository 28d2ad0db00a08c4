//! What became of messages with a key, counted.

/// Messages with a key, with the first few of what should not be, in words.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyVerdict {
    /// Schedules that were confirmed to their publisher.
    pub schedules: u64,
    /// Those of them that arrived.
    pub delivered: u64,
    /// Those that were stopped in time: cancelled, replaced, or not the one that was kept.
    pub stopped: u64,
    /// Those that may have come or not: what concerns them was confirmed too late to be sure.
    pub either: u64,
    /// Arrivals beyond the first.
    pub duplicates: u64,
    /// Commands that were confirmed, unique schedules among them.
    pub commands: u64,
    /// Of them, those that never had an answer.
    pub unanswered: u64,
    /// Keys of commands that were refused.
    pub refused: u64,
    /// Reschedules that were decided late, and refused: their time had passed, or a later command had overruled them.
    pub overruled: u64,
    /// Stopped in time, and delivered all the same.
    pub cancelled_but_delivered: u64,
    /// Nothing stopped it, and it has not come.
    pub dropped_without_cause: u64,
    /// An answer that was not true, or did not stay so.
    pub reply_lied: u64,
    /// Before it was due, or before a reschedule that was confirmed in time says.
    pub early: u64,
    /// Another body or key; or nobody's.
    pub odd: u64,
    /// Lateness of what had to come, in ms, sorted. Faults count in.
    pub lateness_ms: Vec<u64>,
    pub findings: Vec<String>,
}

impl KeyVerdict {
    /// What must never be.
    pub fn faults(&self) -> u64 {
        self.cancelled_but_delivered
            + self.dropped_without_cause
            + self.reply_lied
            + self.early
            + self.odd
    }

    /// Takes in the verdict of another plan of the same drill.
    pub fn add(&mut self, other: KeyVerdict) {
        self.schedules += other.schedules;
        self.delivered += other.delivered;
        self.stopped += other.stopped;
        self.either += other.either;
        self.duplicates += other.duplicates;
        self.commands += other.commands;
        self.unanswered += other.unanswered;
        self.refused += other.refused;
        self.overruled += other.overruled;
        self.cancelled_but_delivered += other.cancelled_but_delivered;
        self.dropped_without_cause += other.dropped_without_cause;
        self.reply_lied += other.reply_lied;
        self.early += other.early;
        self.odd += other.odd;
        self.lateness_ms.extend(other.lateness_ms);
        self.lateness_ms.sort_unstable();
        self.findings.extend(other.findings);
    }

    /// The lateness that this share (0 to 1) of the messages does not exceed, in ms.
    pub fn lateness_ms(&self, share: f64) -> u64 {
        let last = self.lateness_ms.len().saturating_sub(1);
        self.lateness_ms.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
    }

    /// In sentences.
    pub fn words(&self) -> Vec<String> {
        vec![
            format!(
                "with a key: {} scheduled, {} delivered, {} stopped in time, {} either way, {} twice; late by {} ms \
                 (median), {} ms (99 %), {} ms at most",
                self.schedules,
                self.delivered,
                self.stopped,
                self.either,
                self.duplicates,
                self.lateness_ms(0.5),
                self.lateness_ms(0.99),
                self.lateness_ms(1.0)
            ),
            format!(
                "{} commands, {} without an answer, {} refused, {} overruled; cancelled but delivered {}, \
                 dropped without cause {}, reply lied {}",
                self.commands,
                self.unanswered,
                self.refused,
                self.overruled,
                self.cancelled_but_delivered,
                self.dropped_without_cause,
                self.reply_lied
            ),
        ]
    }
}
