//! In: a plan for keys, what was confirmed, what was answered, what arrived. Out: a verdict on every schedule and
//! every answer. Pure, and written from docs/control.md alone: nothing here shares code with what decides.
//!
//! | | |
//! |---|---|
//! | cancelled but delivered | what stops it was confirmed a second before it was due, and it arrived |
//! | dropped without cause | nothing that was published stops it, and it never arrived |
//! | reply lied | an answer that one process could not have given, or that later turned out false |

use std::collections::{BTreeMap, HashMap};

use dormouse_core::control::{Key, Outcome, Reply};
use dormouse_core::message::as_text;

use super::fates::{Fate, Fates, Stands, Step, fates};
use super::plan::{Plan, TARGET, What};
use super::verdict::KeyVerdict;
use crate::drill::record::{Arrival, Sent};
use crate::drill::script::Script;

/// An answer that came.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The act that it answers.
    pub number: u32,
    pub at_ms: u64,
    pub reply: Reply,
}

/// What was recorded of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub start_ms: u64,
    pub sent: &'a HashMap<u32, Sent>,
    pub seen: &'a [Arrival],
    pub answers: &'a [Answered],
}

/// So many findings are kept in words.
const FINDINGS: usize = 20;

/// Judges a run.
pub fn check(plan: &Plan, record: &Record) -> KeyVerdict {
    let mut judge = Judge { plan, record, arrivals: HashMap::new(), verdict: <_>::default() };
    for arrival in record.seen {
        judge.arrival(arrival);
    }
    let answers = judge.answers();
    let mut keys: BTreeMap<&str, Vec<Step>> = BTreeMap::new();
    for (number, act) in (0..).zip(&plan.acts) {
        let Some(sent) = record.sent.get(&number) else { continue };
        let replies = answers.get(&number).map_or(&[][..], Vec::as_slice);
        if sent.confirmed_ms.is_some() && act.what.is_command() {
            judge.verdict.commands += 1;
            judge.verdict.unanswered += u64::from(replies.is_empty());
        }
        for key in act.what.keys() {
            let step = judge.step(number, &act.what, *sent, key, replies);
            keys.entry(key.as_str()).or_default().push(step);
        }
    }
    for (key, steps) in keys {
        judge.key(key, &steps);
    }
    judge.verdict.lateness_ms.sort_unstable();
    judge.verdict
}

struct Judge<'a> {
    plan: &'a Plan,
    record: &'a Record<'a>,
    /// When each message arrived.
    arrivals: HashMap<u32, Vec<u64>>,
    verdict: KeyVerdict,
}

impl<'a> Judge<'a> {
    fn arrival(&mut self, arrival: &Arrival) {
        let Some(number) = self.plan.number(&arrival.message) else {
            return self.odd(format!("a message of nobody's, in {}", arrival.queue));
        };
        let key = arrival.message.properties.headers.get("x-dormouse-key").and_then(as_text);
        let What::Schedule { key: own, .. } = &self.plan.acts[number as usize].what else {
            return self.odd(format!("act {number} schedules nothing, and came"));
        };
        let is_whole = arrival.message.body == self.plan.body(number).as_bytes();
        if key != Some(own.as_str()) || arrival.queue != TARGET || !is_whole {
            let queue = &arrival.queue;
            self.odd(format!("act {number} came to {queue} with key {key:?}, whole: {is_whole}"));
        }
        self.arrivals.entry(number).or_default().push(arrival.at_ms);
    }

    /// By act, in the order in which they came.
    fn answers(&self) -> HashMap<u32, Vec<&'a Answered>> {
        let mut answers: HashMap<u32, Vec<&Answered>> = HashMap::new();
        for answer in self.record.answers {
            answers.entry(answer.number).or_default().push(answer);
        }
        answers
    }

    /// What an act means for one of its keys.
    fn step(
        &mut self,
        number: u32,
        what: &'a What,
        sent: Sent,
        key: &Key,
        replies: &[&'a Answered],
    ) -> Step<'a> {
        let mut told = Vec::new();
        for answered in replies {
            match &answered.reply {
                Reply::Results(results) => match results.iter().find(|one| one.key == key.as_str())
                {
                    Some(one) => told.push(&one.outcome),
                    None => self.lied(format!("the answer to act {number} lacks {key}")),
                },
                Reply::Refused(why) => {
                    self.lied(format!("act {number} was called unreadable: {why}"));
                }
            }
        }
        let confirmed_ms = sent.confirmed_ms;
        let answered_ms = replies.last().map(|answered| answered.at_ms);
        Step { number, what, confirmed_ms, once: sent.times == 1, told, answered_ms }
    }

    fn key(&mut self, key: &str, steps: &[Step]) {
        let fates = fates(steps, self.record.start_ms);
        for (number, fate) in &fates.schedules {
            self.schedule(key, *number, fate);
        }
        for (index, step) in steps.iter().enumerate() {
            self.refused(key, step, &steps[index + 1..]);
            for outcome in &step.told {
                self.outcome(key, step, outcome, &fates, index);
            }
        }
    }

    /// A reschedule that is decided late, as its registrar was frozen or is another, is refused if that time has
    /// passed, or if a later act has overruled it.
    fn refused(&mut self, key: &str, step: &Step, after: &[Step]) {
        let Some(why) = step.refusal() else { return };
        let overrules = |step: &Step| !matches!(step.what, What::Schedule { .. });
        let passed = step.answered_ms >= Some(step.due_ms(self.record.start_ms));
        let is_late = passed || after.iter().any(overrules);
        if is_late && matches!(step.what, What::Reschedule { .. }) {
            self.verdict.overruled += 1;
            return;
        }
        self.verdict.refused += 1;
        self.find(format!("refused: act {}, key {key}: {why}, told {:?}", step.number, step.told));
    }

    fn schedule(&mut self, key: &str, number: u32, fate: &Fate) {
        let came = self.came(number).to_vec();
        let confirmed = self.record.sent[&number].confirmed_ms;
        self.verdict.schedules += u64::from(confirmed.is_some());
        self.verdict.delivered += u64::from(!came.is_empty());
        self.verdict.duplicates += came.len().saturating_sub(1) as u64;
        self.verdict.stopped += u64::from(fate.stopped_by.is_some());
        let either = !fate.must_come && fate.stopped_by.is_none();
        self.verdict.either += u64::from(either);
        let by_start = |ms: u64| ms as i64 - self.record.start_ms as i64;
        let (due, since) = (by_start(fate.due_ms.0), confirmed.map(by_start));
        match (came.first(), fate.stopped_by) {
            (Some(at_ms), Some(by)) => {
                let stop_ms = self.record.sent[&by].confirmed_ms.map(by_start);
                let at = by_start(*at_ms);
                self.verdict.cancelled_but_delivered += 1;
                self.find(format!(
                    "cancelled but delivered: act {number}, key {key}, confirmed at {since:?} ms, due at {due} ms, \
                     came at {at} ms, {} times; act {by} stops it, confirmed at {stop_ms:?} ms",
                    came.len()
                ));
            }
            (None, None) if fate.must_come => {
                self.verdict.dropped_without_cause += 1;
                self.find(format!(
                    "dropped without cause, or never came: act {number}, key {key}, confirmed at {since:?} ms, due at \
                     {due} ms"
                ));
            }
            (Some(at_ms), None) if fate.must_come => {
                self.verdict.lateness_ms.push(at_ms.saturating_sub(fate.due_ms.1));
            }
            _ => {}
        }
        if let Some(at_ms) = came.iter().find(|at_ms| **at_ms < fate.due_ms.0) {
            self.verdict.early += 1;
            let by_ms = fate.due_ms.0 - at_ms;
            self.find(format!("early: act {number}, key {key}, by {by_ms} ms"));
        }
    }

    /// Whether an answer was true, and stayed so.
    fn outcome(
        &mut self,
        key: &str,
        step: &Step,
        outcome: &Outcome<String>,
        fates: &Fates,
        index: usize,
    ) {
        // published twice, it was decided twice: as the first one or as the second
        if step.is_unique() && !step.once {
            return;
        }
        let before = fates.before[index];
        let wrong = match (outcome, step.what) {
            // so it was cancelled before, and that is still so
            (Outcome::Cancelled, _) if let Stands::Gone(subject) = before => {
                self.delivered(subject)
            }
            (Outcome::Cancelled | Outcome::Replaced, _) if before.is_nothing() => {
                Some("nothing was there".to_owned())
            }
            (Outcome::Cancelled, _) => before.surely().and_then(|subject| self.delivered(subject)),
            (Outcome::Replaced, _) => {
                let kept = fates.kept_instead_of(step.number);
                let subject = before.surely().filter(|_| kept.is_none());
                kept.map(|by| format!("act {by} was to be kept"))
                    .or_else(|| self.delivered(subject?))
            }
            (Outcome::Kept, What::Schedule { .. }) if before.is_nothing() => {
                Some("nothing was there to keep".to_owned())
            }
            (Outcome::Kept, What::Schedule { .. }) => {
                (!self.came(step.number).is_empty()).then(|| "it was delivered itself".to_owned())
            }
            (Outcome::Scheduled, What::Schedule { .. }) => {
                let kept = fates.kept_instead_of(step.number);
                kept.map(|by| format!("act {by} was to be kept"))
            }
            (Outcome::Scheduled, What::Reschedule { .. }) if before.is_nothing() => {
                Some("nothing was there".to_owned())
            }
            (Outcome::Scheduled, What::Reschedule { .. }) => {
                let due_ms = step.due_ms(self.record.start_ms);
                let sooner = |subject: &u32| self.came(*subject).iter().any(|at| *at < due_ms);
                before.surely().filter(sooner).map(|by| format!("act {by} came before it says"))
            }
            (Outcome::Noted | Outcome::TooLate | Outcome::Unknown, What::Schedule { .. }) => {
                Some("no schedule is answered so".to_owned())
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            let (number, word) = (step.number, outcome.as_str());
            self.lied(format!("act {number}, key {key}, was answered {word}: {wrong}"));
        }
    }

    fn delivered(&self, subject: u32) -> Option<String> {
        (!self.came(subject).is_empty()).then(|| format!("act {subject} was delivered"))
    }

    fn came(&self, number: u32) -> &[u64] {
        self.arrivals.get(&number).map_or(&[], Vec::as_slice)
    }

    fn lied(&mut self, what: String) {
        self.verdict.reply_lied += 1;
        self.find(format!("reply lied: {what}"));
    }

    fn odd(&mut self, what: String) {
        self.verdict.odd += 1;
        self.find(format!("odd: {what}"));
    }

    fn find(&mut self, finding: String) {
        if self.verdict.findings.len() < FINDINGS {
            self.verdict.findings.push(format!("{finding} (seed {})", self.plan.seed));
        }
    }
}
