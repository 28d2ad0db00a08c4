//! What was promised, and whether it was kept.

use dormouse_core::control::{Cause, IfExists, Outcome, Refusal};

use super::event::Copy;
use super::op::{Kind, Machine, Op};
use super::recurring_judge::Ticks;

#[derive(Default)]
pub struct Judge {
    pub ops: Vec<Op>,
    pub machines: Vec<Machine>,
    confirms: usize,
    /// The operator accepted what is left of the log: what was promised before is void.
    pub accepted: bool,
    /// What was known is gone with the log: answers of before no longer bind.
    pub log_lost: bool,
    /// When that was, the last time.
    pub lost_at: u64,
    pub violations: Vec<String>,
    pub attempts: usize,
    pub dropped: usize,
    pub moved: usize,
    pub answers: usize,
    pub ticks: Ticks,
}

/// The promise gives RabbitMQ's confirm so much before the due time.
pub const NOTICE_MS: u64 = 1_000;
/// No two clocks of a world differ by more; half a second is what a fence reaches ahead.
pub const CLOCKS_MS: u64 = 14_000;

impl Judge {
    pub fn add(&mut self, kind: Kind, key: usize) -> usize {
        self.ops.push(Op {
            kind,
            key,
            confirmed: None,
            attempts: 0,
            last_attempt: 0,
            earliest: u64::MAX,
            drops: Vec::new(),
            dead: false,
            refused: false,
            answered: false,
            answered_at: u64::MAX,
            purged: false,
            claimed: false,
            kept: false,
            never: false,
            put_off: Vec::new(),
            placed: Vec::new(),
        });
        self.ops.len() - 1
    }

    pub fn log_is_lost(&mut self, now: u64) {
        self.log_lost = true;
        self.lost_at = now;
    }

    pub fn confirm(&mut self, op: usize, now: u64) {
        self.ops[op].confirmed = Some((now, self.confirms));
        self.confirms += 1;
    }

    pub fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Those of the same key that RabbitMQ confirmed after the schedule `op`; for a plain one, all of its key.
    fn that_concern(&self, op: usize) -> impl Iterator<Item = (usize, &Op, u64)> {
        let schedule = &self.ops[op];
        let order = match schedule.kind {
            Kind::Unique { .. } => schedule.confirmed.map(|(_, order)| order),
            _ => None,
        };
        self.ops.iter().enumerate().filter_map(move |(number, other)| {
            let (at, their_order) = other.confirmed?;
            let concerns = other.key == schedule.key && number != op && Some(their_order) > order;
            concerns.then_some((number, other, at))
        })
    }

    /// An attempt to deliver begins: the moment that everything else is about.
    pub fn attempt(&mut self, copy: &Copy, machine: usize, now: u64) {
        let Copy { op, wake_at, .. } = *copy;
        self.attempts += 1;
        self.attempt_of_tick(copy, machine, now);
        let schedule = &self.ops[op];
        let mut wrong = Vec::new();
        if let Kind::Unkeyed { .. } = schedule.kind {
            // nothing speaks about it
        } else if !self.accepted {
            for (number, other, at) in self.that_concern(op) {
                let wall = self.machines[machine].wall(at);
                let in_time =
                    at < now && wall + NOTICE_MS <= wake_at && !other.refused && !other.purged;
                // a cancel that was there before its message is gone with the log
                let came_after = schedule.confirmed.is_some_and(|(at, _)| at >= self.lost_at);
                let in_time = in_time && !(at < self.lost_at && came_after);
                let is_unique = matches!(schedule.kind, Kind::Unique { .. });
                let stops = match other.kind {
                    Kind::Cancel { .. } => true,
                    Kind::Unique { if_exists: IfExists::Replace, .. } => is_unique,
                    Kind::Reschedule { due } => due > wake_at && !self.is_brought_forward(number),
                    Kind::Unique { .. } | Kind::Plain { .. } | Kind::Unkeyed { .. } => false,
                    Kind::RunNow { .. } | Kind::Recurring { .. } | Kind::Tick { .. } => false,
                };
                if in_time && stops {
                    wrong.push(format!(
                        "delivered against it: op {op} {:?}, due {wake_at}, though op {number} {:?} was confirmed when \
                         machine {machine} showed {wall}",
                        schedule.kind, other.kind
                    ));
                }
            }
            if schedule.never && !self.log_lost {
                wrong.push(format!("reply lied: op {op} was never to be tried"));
            }
            let promised = schedule.put_off.iter().filter(|by| !self.is_brought_forward(**by));
            let not_before = promised.filter_map(|by| self.ops[*by].kind.put_off()).max();
            if let Some(not_before) = not_before.filter(|due| wake_at < *due && !self.log_lost) {
                wrong.push(format!(
                    "reply lied: op {op}, due {wake_at}, was not to come before {not_before}"
                ));
            }
        }
        let schedule = &mut self.ops[op];
        schedule.attempts += 1;
        schedule.last_attempt = now;
        schedule.earliest = schedule.earliest.min(wake_at);
        self.violations.extend(wrong);
        self.check_keep(op);
    }

    /// `keep` was tried though the one before it was to come for sure when it was put into the levels.
    fn check_keep(&mut self, op: usize) {
        let Op { kind: Kind::Unique { if_exists: IfExists::Keep, .. }, key, confirmed, .. } =
            self.ops[op]
        else {
            return;
        };
        let before =
            self.ops.iter().filter(|other| other.key == key && other.confirmed < confirmed);
        let before =
            before.filter(|other| other.confirmed.is_some() && !other.refused && !other.purged);
        let last = before.filter(|o| matches!(o.kind, Kind::Cancel { .. } | Kind::Unique { .. }));
        let Some(last) = last.max_by_key(|other| other.confirmed) else { return };
        if let Kind::Unique { if_exists: IfExists::Replace, due } = last.kind
            && !self.log_lost
            && self.ops[op].placed.iter().all(|at| due > at + CLOCKS_MS)
        {
            self.violated(format!(
                "keep did not keep: op {op} was tried, due before it at {due}: {last:?}"
            ));
        }
    }

    /// A run-now of the same key was confirmed after this command.
    fn is_brought_forward(&self, op: usize) -> bool {
        let Op { key, confirmed, .. } = self.ops[op];
        let later = |other: &&Op| other.key == key && other.confirmed > confirmed;
        self.ops.iter().filter(later).any(|other| matches!(other.kind, Kind::RunNow { .. }))
    }

    /// What a run-now asks for has been found, and is published with its time; its worker asked the registrar then.
    pub fn moved(&mut self, op: usize, asked_at: u64) {
        self.moved += 1;
        if self.log_lost || self.accepted {
            return;
        }
        let is_unique = matches!(self.ops[op].kind, Kind::Unique { .. });
        let against = self.that_concern(op).find(|(_, other, _)| {
            let stops = match other.kind {
                Kind::Cancel { .. } => true,
                Kind::Unique { .. } => is_unique && other.claimed,
                _ => false,
            };
            stops && !other.refused && !other.purged && other.answered_at < asked_at
        });
        if let Some((number, ..)) = against {
            self.violated(format!(
                "reply lied: op {op} was moved, though op {number} was answered before"
            ));
        }
    }

    /// A message sleeps until another time than it was stamped with: if it was brought forward, by a word that came
    /// after the run-now.
    pub fn sleeps_again(&mut self, op: usize, moved_by: Option<usize>, due: u64) {
        let Some(run_now) = moved_by.filter(|_| !self.log_lost && !self.accepted) else { return };
        let Op { key, confirmed, .. } = self.ops[run_now];
        let later = |other: &Op| other.key == key && other.confirmed > confirmed;
        let is_put_off = self.ops.iter().any(|other| {
            other.kind == (Kind::Reschedule { due }) && later(other)
                || matches!(other.kind, Kind::RunNow { .. }) && later(other)
                || other.key == key && other.purged
        });
        if !is_put_off {
            self.violated(format!(
                "reply lied: op {op} was moved by op {run_now}, and sleeps until {due}"
            ));
        }
    }

    pub fn drop(&mut self, op: usize, cause: Cause) {
        self.dropped += 1;
        self.ops[op].drops.push(cause);
        let has_cause = match cause {
            Cause::Cancelled if matches!(self.ops[op].kind, Kind::Tick { .. }) => true,
            Cause::Cancelled => self
                .that_concern(op)
                .any(|(_, other, _)| matches!(other.kind, Kind::Cancel { .. }) && !other.refused),
            // of its own command, decided again, the other copy must come: the end of the world shows
            Cause::Replaced | Cause::Unclaimed => true,
        };
        if !has_cause {
            self.violated(format!(
                "dropped without cause: op {op} {:?} as {cause:?}",
                self.ops[op].kind
            ));
        }
    }

    /// Delivered again, it may find room: what was decided last counts.
    pub fn decided(&mut self, op: usize, outcome: &Outcome) {
        if *outcome != Outcome::Refused(Refusal::Unanswered) {
            self.ops[op].refused = matches!(outcome, Outcome::Refused(Refusal::Full { .. }));
        }
    }

    /// Who purges the queue breaks what RabbitMQ confirmed, and nothing that was answered.
    pub fn purged(&mut self, op: usize, log_lost_its_tail: bool) {
        self.ops[op].purged |= !self.ops[op].answered || log_lost_its_tail;
    }

    pub fn answer(&mut self, op: usize, now: u64, outcome: &Outcome) {
        self.answers += 1;
        self.ops[op].answered_at = self.ops[op].answered_at.min(now);
        self.ops[op].answered = true;
        let kind = self.ops[op].kind;
        if let Kind::Unique { .. } = kind {
            self.ops[op].kept = *outcome == Outcome::Kept;
            self.ops[op].claimed = matches!(outcome, Outcome::Scheduled | Outcome::Replaced);
        }
        let key = self.ops[op].key;
        if self.ops.iter().any(|other| other.key == key && other.purged) {
            return;
        }
        let subject = self.claimed_before(op);
        match (kind, outcome) {
            (Kind::Cancel { .. }, Outcome::Cancelled) | (_, Outcome::Replaced) => {
                let Some(subject) = subject else {
                    if self.log_lost {
                        return;
                    }
                    return self.violated(format!(
                        "reply lied: op {op} {outcome:?}, and nothing was there"
                    ));
                };
                self.ops[subject].never = true;
                if self.ops[subject].attempts > 0 && !self.log_lost {
                    self.violated(format!(
                        "reply lied: op {op} {outcome:?}, but op {subject} was tried"
                    ));
                }
            }
            (Kind::Reschedule { due }, Outcome::Scheduled) => {
                let Some(subject) = subject else {
                    if self.log_lost {
                        return;
                    }
                    return self.violated(format!(
                        "reply lied: op {op} {outcome:?}, and nothing was there"
                    ));
                };
                let is_brought_forward = self.is_brought_forward(op);
                let subject_op = &mut self.ops[subject];
                subject_op.put_off.push(op);
                if is_brought_forward {
                    return;
                }
                if subject_op.earliest < due && !self.log_lost {
                    self.violated(format!(
                        "reply lied: op {op} {outcome:?}, but op {subject} was tried"
                    ));
                }
            }
            _ => {}
        }
    }

    /// The unique schedule that counted when `op` was decided.
    fn claimed_before(&self, op: usize) -> Option<usize> {
        let Op { key, confirmed, .. } = self.ops[op];
        let numbered = self.ops.iter().enumerate();
        let claimed = numbered.filter(|(_, other)| other.key == key && other.claimed);
        let before = claimed.filter(|(_, other)| other.confirmed < confirmed);
        before.max_by_key(|(_, other)| other.confirmed).map(|(number, _)| number)
    }

    /// All faults have ended long ago: everything was delivered or dropped with a cause.
    pub fn end(&mut self) {
        self.end_of_ticks();
        for op in 0..self.ops.len() {
            let schedule = &self.ops[op];
            let Some((at, _)) = schedule.confirmed else { continue };
            if schedule.kind.due().is_none()
                || schedule.attempts > 0
                || schedule.dead
                || schedule.refused
                || schedule.purged
            {
                continue;
            }
            let excused = match schedule.kind {
                Kind::Unkeyed { .. } => false,
                Kind::Plain { .. } => self.has_later(op, false),
                Kind::Unique { if_exists: IfExists::Replace, .. } => self.has_later(op, true),
                _ => self.has_later(op, true) || self.another_came(op, at),
            };
            if !excused {
                let schedule = &self.ops[op];
                self.violated(format!(
                    "dropped without cause, or never came: op {op} {schedule:?}"
                ));
            }
        }
    }

    fn has_later(&self, op: usize, by_unique: bool) -> bool {
        self.that_concern(op).any(|(_, other, _)| match other.kind {
            Kind::Cancel { .. } => !other.refused,
            Kind::Unique { if_exists: IfExists::Replace, .. } => by_unique && !other.refused,
            // purged, it may have been decided
            Kind::Unique { .. } => by_unique && (other.claimed || other.purged),
            _ => false,
        })
    }

    /// What `keep` kept was tried after it was confirmed.
    fn another_came(&self, op: usize, at: u64) -> bool {
        let Op { key, confirmed, .. } = self.ops[op];
        let before =
            self.ops.iter().filter(|other| other.key == key && other.confirmed < confirmed);
        before.into_iter().any(|other| {
            matches!(other.kind, Kind::Unique { .. })
                && other.attempts > 0
                && other.last_attempt >= at
        })
    }
}
