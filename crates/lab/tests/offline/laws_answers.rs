//! Laws of the drills' checker of keys: an answer that one process could not have given, or that turned out false,
//! is found. Pure.

use dormouse_core::control::command::{IfExists, Refusal};
use dormouse_core::control::{Outcome, Reply};
use dormouse_lab::drill::keyed::plan::{Act, What};
use proptest::prelude::*;

use crate::laws_keys::{History, START_MS, arrival, duels, ms};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_answer_that_one_process_could_not_give_is_found(
        seed in any::<u64>(), at in any::<prop::sample::Index>()
    ) {
        let right = duels(seed);
        let lies = [
            // it comes, and was to be kept out
            ("kept", Outcome::Scheduled),
            ("kept", Outcome::Replaced),
            ("replaced", Outcome::Noted),
            ("scheduled", Outcome::TooLate),
        ];
        let uniques = |word: &str| {
            let mut found = right.answered(word);
            found.retain(|at| {
                let act = &right.plan.acts[right.answers[*at].number as usize];
                matches!(act.what, What::Schedule { .. })
            });
            found
        };
        for (told, lie) in lies {
            let found = uniques(told);
            prop_assume!(!found.is_empty());
            let mut history = right.clone();
            history.say(found[at.index(found.len())], lie.clone());
            prop_assert_eq!(history.check().reply_lied, 1, "{} as {:?}", told, lie);
        }
        // what nothing stood before replaces and keeps nothing
        let first = uniques("scheduled");
        for lie in [Outcome::Replaced, Outcome::Kept] {
            let mut history = right.clone();
            history.say(first[at.index(first.len())], lie);
            prop_assert_eq!(history.check().reply_lied, 1);
        }
        // an answer that is none to its command
        let mut history = right.clone();
        let answer = at.index(history.answers.len());
        history.answers[answer].reply = Reply::Refused("it cannot be read".into());
        prop_assert_eq!(history.check().reply_lied, 1);
        history.answers[answer].reply = Reply::Results(Vec::new());
        prop_assert_eq!(history.check().reply_lied, 1);
        history.answers.remove(answer);
        let verdict = history.check();
        prop_assert_eq!((verdict.faults(), verdict.unanswered), (0, 1));
    }

    /// It was true when it was given.
    #[test]
    fn an_answer_that_turned_out_false_is_found(
        seed in any::<u64>(), at in any::<prop::sample::Index>()
    ) {
        let right = duels(seed);
        for word in ["cancelled", "replaced"] {
            let found = right.answered(word);
            let number = right.answers[found[at.index(found.len())]].number;
            let before = *right.plan.acts[number as usize].waits_for.last().unwrap();
            // only if that is the schedule itself
            prop_assume!(matches!(
                right.plan.acts[before as usize].what,
                What::Schedule { unique: Some(IfExists::Replace), .. }
            ));
            let mut history = right.clone();
            history.seen.push(arrival(&right.plan, before, START_MS + 60_000));
            let verdict = history.check();
            prop_assert!(verdict.reply_lied >= 1, "{:?}", verdict.findings);
            prop_assert_eq!(verdict.cancelled_but_delivered, 1);
        }
    }

    /// What is refused has no effect; what could not be told may have had it.
    #[test]
    fn a_refused_cancel_stops_nothing(seed in any::<u64>(), at in any::<prop::sample::Index>()) {
        let mut history = duels(seed);
        let cancels = history.answered("noted");
        let number = |at: &usize| history.answers[*at].number as usize;
        let last: Vec<usize> = cancels
            .into_iter()
            .filter(|at| {
                let what = &history.plan.acts[number(at)].what;
                let keys = what.keys();
                let of_key = |act: &&Act| act.what.keys() == keys;
                let is_cancel = |what: &What| matches!(what, What::Cancel { .. });
                let cancels = history.plan.acts.iter().filter(of_key);
                is_cancel(what) && cancels.filter(|act| is_cancel(&act.what)).count() == 1
            })
            .collect();
        prop_assume!(!last.is_empty());
        let answer = last[at.index(last.len())];
        history.say(answer, Outcome::Refused(Refusal::Unanswered.to_string()));
        prop_assert_eq!(history.check().faults(), 0);
        history.say(answer, Outcome::Refused(Refusal::Full { limit: 1_000 }.to_string()));
        let verdict = history.check();
        prop_assert_eq!((verdict.dropped_without_cause, verdict.refused), (1, 1));
    }

    /// Its registrar was frozen, say: the time that it names has passed.
    #[test]
    fn a_reschedule_is_refused_only_if_it_is_decided_late(
        seed in any::<u64>(), at in any::<prop::sample::Index>()
    ) {
        let mut history = duels(seed);
        let acts = history.plan.acts.clone();
        let is_last = |number: usize| {
            let keys = acts[number].what.keys();
            acts[number + 1..].iter().all(|act| act.what.keys() != keys)
        };
        let mut found = history.answered("scheduled");
        found.retain(|at| {
            let number = history.answers[*at].number as usize;
            matches!(acts[number].what, What::Reschedule { .. }) && is_last(number)
        });
        prop_assume!(!found.is_empty());
        let answer = found[at.index(found.len())];
        let due_ms = ms(acts[history.answers[answer].number as usize].what.due().unwrap());
        history.say(answer, Outcome::Refused("it is due already".into()));
        let late = |history: &mut History, at_ms: u64| {
            history.answers[answer].at_ms = at_ms;
            let verdict = history.check();
            (verdict.faults(), verdict.refused, verdict.overruled)
        };
        prop_assert_eq!(late(&mut history, due_ms - 1), (0, 1, 0));
        prop_assert_eq!(late(&mut history, due_ms), (0, 0, 1));
    }
}
