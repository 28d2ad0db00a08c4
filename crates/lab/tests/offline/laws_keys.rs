//! Laws of the drills' checker of keys: it passes what one process would have done, and finds each fault in a
//! record that was made up. Pure.

use std::collections::HashMap;
use std::time::Duration;

use dormouse::message::{Message, Properties, Value, text};
use dormouse_core::control::command::{IfExists, Refusal};
use dormouse_core::control::reply::Told;
use dormouse_core::control::{Key, Outcome, Reply};
use dormouse_lab::drill::keyed::check::{Answered, Record, check};
use dormouse_lab::drill::keyed::plan::{ANSWERS, Duels, Plan, Storm, TARGET, What};
use dormouse_lab::drill::keyed::verdict::KeyVerdict;
use dormouse_lab::drill::record::{Arrival, Sent};
use proptest::prelude::*;

pub const START_MS: u64 = 1_700_000_000_000;

/// A plan, and what its recorders would have recorded.
#[derive(Clone)]
pub struct History {
    pub plan: Plan,
    pub sent: HashMap<u32, Sent>,
    pub seen: Vec<Arrival>,
    pub answers: Vec<Answered>,
}

/// What is to come of one key.
#[derive(Default)]
struct Stands {
    /// Unique: the act that is to come, or was last cancelled. Plain: the one there is.
    act: Option<u32>,
    due_ms: u64,
    cancelled: bool,
    unique: bool,
}

pub fn ms(offset: Duration) -> u64 {
    START_MS + offset.as_millis() as u64
}

pub fn arrival(plan: &Plan, number: u32, at_ms: u64) -> Arrival {
    let What::Schedule { key, .. } = &plan.acts[number as usize].what else { unreachable!() };
    let message_id = Some(format!("keyed-{}-{number}", plan.seed).into());
    let mut properties = Properties { message_id, ..Properties::default() };
    properties.headers.insert("x-dormouse-key".into(), text(key.as_str()));
    let body = plan.body(number).into();
    let message = Message { properties, body, ..Message::default() };
    Arrival { queue: TARGET.into(), at_ms, redelivered: false, message }
}

impl History {
    /// One process that decides each command at once, confirms that take 3 ms, and arrivals 5 ms late.
    fn expected(plan: Plan) -> Self {
        let mut history = Self { plan, sent: <_>::default(), seen: vec![], answers: vec![] };
        let mut keys: HashMap<Key, Stands> = HashMap::new();
        for (number, act) in (0..).zip(history.plan.acts.clone()) {
            let first_ms = ms(act.after);
            let sent = Sent { first_ms, times: 1, confirmed_ms: Some(first_ms + 3), denied: false };
            history.sent.insert(number, sent);
            let results: Vec<Told> = act
                .what
                .keys()
                .iter()
                .map(|key| {
                    let stands = keys.entry(key.clone()).or_default();
                    let outcome = stands.decide(number, &act.what);
                    Told { key: key.as_str().to_owned(), outcome }
                })
                .collect();
            if act.what.is_command() {
                let (at_ms, reply) = (first_ms + 5, Reply::Results(results));
                history.answers.push(Answered { number, at_ms, reply });
            }
        }
        for stands in keys.values().filter(|stands| !stands.cancelled) {
            let Some(act) = stands.act else { continue };
            history.seen.push(arrival(&history.plan, act, stands.due_ms + 5));
        }
        history
    }

    pub fn check(&self) -> KeyVerdict {
        let Self { plan, sent, seen, answers } = self;
        check(plan, &Record { start_ms: START_MS, sent, seen, answers })
    }

    fn arrived(&self) -> Vec<u32> {
        let number = |arrival: &Arrival| {
            let id = arrival.message.properties.message_id.clone().unwrap();
            id.as_str().rsplit('-').next().unwrap().parse().unwrap()
        };
        self.seen.iter().map(number).collect()
    }

    /// The schedules that do not come.
    fn stopped(&self) -> Vec<u32> {
        let arrived = self.arrived();
        let schedules =
            |number: &u32| matches!(self.plan.acts[*number as usize].what, What::Schedule { .. });
        let all = (0..self.plan.acts.len() as u32).filter(schedules);
        all.filter(|number| !arrived.contains(number)).collect()
    }

    /// The answers of this word, by their places.
    pub fn answered(&self, word: &str) -> Vec<usize> {
        let is = |answer: &Answered| {
            let Reply::Results(told) = &answer.reply else { return false };
            told[0].outcome.as_str() == word
        };
        (0..self.answers.len()).filter(|at| is(&self.answers[*at])).collect()
    }

    pub fn say(&mut self, at: usize, outcome: Outcome<String>) {
        let Reply::Results(told) = &mut self.answers[at].reply else { unreachable!() };
        told[0].outcome = outcome;
    }
}

impl Stands {
    fn decide(&mut self, number: u32, what: &What) -> Outcome<String> {
        let is_to_come = self.unique && self.act.is_some() && !self.cancelled;
        match what {
            What::Schedule { unique: Some(IfExists::Keep), .. } if is_to_come => Outcome::Kept,
            What::Schedule { due, unique, .. } => {
                let cancelled = self.cancelled && unique.is_none();
                let unique = unique.is_some();
                *self = Stands { act: Some(number), due_ms: ms(*due), cancelled, unique };
                if is_to_come { Outcome::Replaced } else { Outcome::Scheduled }
            }
            What::Cancel { .. } => {
                self.cancelled = self.act.is_some() || !self.unique;
                if self.unique { Outcome::Cancelled } else { Outcome::Noted }
            }
            What::Reschedule { .. } if self.cancelled => {
                Outcome::Refused(Refusal::Cancelled.to_string())
            }
            What::Reschedule { due, .. } => {
                self.due_ms = self.due_ms.max(ms(*due));
                if self.unique { Outcome::Scheduled } else { Outcome::Noted }
            }
        }
    }
}

pub fn duels(seed: u64) -> History {
    let from = (Duration::ZERO, Duration::from_secs(10));
    History::expected(Duels { keys: 150, from }.plan(seed))
}

fn storm(seed: u64) -> History {
    let at = |from, to| (Duration::from_secs(from), Duration::from_secs(to));
    let storm = Storm { keys: 300, scheduled: at(0, 5), cancelled: at(6, 12), due: at(14, 20) };
    History::expected(storm.plan(seed))
}

fn one(numbers: &[u32], at: &prop::sample::Index) -> u32 {
    numbers[at.index(numbers.len())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_one_process_would_do_is_clean(seed in any::<u64>()) {
        for history in [duels(seed), storm(seed)] {
            let verdict = history.check();
            prop_assert_eq!(verdict.faults(), 0, "{:?}", verdict.findings);
            prop_assert_eq!(verdict.delivered, history.seen.len() as u64);
            prop_assert_eq!(verdict.delivered + verdict.stopped, verdict.schedules);
            prop_assert!(verdict.delivered > 50 && verdict.stopped > 50, "{:?}", verdict);
            prop_assert_eq!((verdict.either, verdict.unanswered, verdict.refused), (0, 0, 0));
            prop_assert_eq!((verdict.duplicates, verdict.lateness_ms(1.0)), (0, 5));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan(seed in any::<u64>()) {
        prop_assert_eq!(duels(seed).plan, duels(seed).plan);
        prop_assert_ne!(storm(seed).plan.acts, storm(seed.wrapping_add(1)).plan.acts);
    }

    #[test]
    fn what_was_stopped_and_came_is_found(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        for mut history in [duels(seed), storm(seed)] {
            let number = one(&history.stopped(), &at);
            history.seen.push(arrival(&history.plan, number, START_MS + 60_000));
            prop_assert_eq!(history.check().cancelled_but_delivered, 1);
        }
    }

    #[test]
    fn what_nothing_stopped_and_never_came_is_found(
        seed in any::<u64>(), at in any::<prop::sample::Index>()
    ) {
        for mut history in [duels(seed), storm(seed)] {
            history.seen.remove(at.index(history.seen.len()));
            prop_assert_eq!(history.check().dropped_without_cause, 1);
        }
    }

    /// Confirmed less than a second before the due time, it may come or not.
    #[test]
    fn a_cancel_that_is_confirmed_late_promises_nothing(
        seed in any::<u64>(), at in any::<prop::sample::Index>()
    ) {
        let mut history = storm(seed);
        let cancels = history.plan.acts.clone().into_iter().enumerate();
        let cancels: Vec<u32> = cancels
            .filter(|(_, act)| matches!(act.what, What::Cancel { .. }))
            .map(|(number, _)| number as u32)
            .collect();
        let cancel = one(&cancels, &at);
        let cancelled = history.plan.acts[cancel as usize].what.keys().to_vec();
        let (schedule, due) = (0..)
            .zip(&history.plan.acts)
            .find_map(|(number, act)| match &act.what {
                What::Schedule { key, due, .. } if cancelled.contains(key) => Some((number, *due)),
                _ => None,
            })
            .unwrap();
        let confirm = |history: &mut History, ms| {
            history.sent.get_mut(&cancel).unwrap().confirmed_ms = Some(ms);
        };
        confirm(&mut history, ms(due) - 999);
        let dropped = history.check();
        prop_assert_eq!(dropped.faults(), 0);
        prop_assert!(dropped.either > 0);
        // but not both: what was answered to be cancelled did not come
        let mut came = history.clone();
        came.seen.push(arrival(&came.plan, schedule, ms(due)));
        prop_assert_eq!(came.check().cancelled_but_delivered, 0);
        came.answers.retain(|answer| answer.number != cancel);
        prop_assert_eq!(came.check().faults(), 0);
        confirm(&mut came, ms(due) - 1_000);
        prop_assert_eq!(came.check().cancelled_but_delivered, 1);
    }

    #[test]
    fn before_it_is_due_and_before_it_was_put_off_to_is_early(
        seed in any::<u64>(), at in any::<prop::sample::Index>()
    ) {
        let mut history = duels(seed);
        let arrival = at.index(history.seen.len());
        history.seen[arrival].at_ms -= 6;
        prop_assert_eq!(history.check().early, 1);
    }

    #[test]
    fn twice_is_counted_and_no_fault(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let mut history = duels(seed);
        let again = history.seen[at.index(history.seen.len())].clone();
        history.seen.push(again);
        let verdict = history.check();
        prop_assert_eq!((verdict.faults(), verdict.duplicates), (0, 1));
    }

    #[test]
    fn another_key_or_body_and_what_is_nobodys_are_found(
        seed in any::<u64>(), at in any::<prop::sample::Index>()
    ) {
        type Change = fn(&mut Arrival);
        let changes: [Change; 4] = [
            |arrival| arrival.message.body = "odd".into(),
            |arrival| arrival.queue = ANSWERS.into(),
            |arrival| {
                arrival.message.properties.headers.insert("x-dormouse-key".into(), Value::Void);
            },
            |arrival| {
                arrival.message.properties.headers.remove("x-dormouse-key");
            },
        ];
        let right = duels(seed);
        let arrival = at.index(right.seen.len());
        for change in changes {
            let mut history = right.clone();
            change(&mut history.seen[arrival]);
            prop_assert_eq!(history.check().faults(), 1);
        }
        let mut history = right.clone();
        history.seen.push(Arrival { message: Message::default(), ..right.seen[0].clone() });
        prop_assert_eq!(history.check().odd, 1);
    }
}
