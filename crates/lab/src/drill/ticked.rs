//! In: what was said of recurring schedules and when it held, the times of faults, and the ticks that came. Out: those that are
//! missing, came as two, came against a pause or a delete, or as they were before an edit. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// What was said of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It is new, and says this.
    Put(u32),
    /// It says something else.
    Edit(u32),
    Pause,
    Resume,
    Delete,
}

/// When it was published first, and when it was answered; never, if nobody answered.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    pub act: Act,
    pub sent_ms: u64,
    pub held_ms: Option<u64>,
}

/// One schedule, in the order in which it was spoken of.
#[derive(Debug, Clone)]
pub struct History {
    pub name: String,
    pub every_ms: u64,
    pub said: Vec<Said>,
}

/// What came of one tick.
#[derive(Debug, Clone, Default)]
pub struct Came {
    pub generations: BTreeSet<i64>,
    pub variants: BTreeSet<u32>,
}

/// By schedule and tick.
pub type AllCame = BTreeMap<(String, u64), Came>;

/// Ticks that are not as they should be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub missing: Vec<(String, u64)>,
    pub twice: Vec<(String, u64)>,
    pub against: Vec<(String, u64)>,
    pub as_before: Vec<(String, u64)>,
}

/// What is answered so long before a tick is in time.
const NOTICE_MS: u64 = 1_000;
/// Where nothing goes wrong a tick has come by then: a pause that follows stops nothing of it.
const COME_MS: u64 = 5_000;

impl Act {
    fn starts(self) -> bool {
        matches!(self, Act::Put(_) | Act::Resume)
    }

    fn stops(self) -> bool {
        matches!(self, Act::Pause | Act::Delete)
    }

    fn variant(self) -> Option<u32> {
        match self {
            Act::Put(variant) | Act::Edit(variant) => Some(variant),
            Act::Pause | Act::Resume | Act::Delete => None,
        }
    }
}

impl Said {
    fn held_by(&self, ms: u64) -> bool {
        self.held_ms.is_some_and(|held| held <= ms)
    }
}

impl History {
    /// Ticks that have to come, from the first to the last that its definition allows.
    pub fn wanted<'a>(
        &'a self,
        range: RangeInclusive<u64>,
        faults: &'a [(u64, u64)],
    ) -> impl Iterator<Item = u64> + 'a {
        let ticks = range.step_by(self.every_ms as usize);
        ticks.filter(|tick| self.has_to_come(*tick, faults))
    }

    fn has_to_come(&self, tick: u64, faults: &[(u64, u64)]) -> bool {
        let mut switches = self.said.iter().filter(|said| said.act.starts() || said.act.stops());
        let before = switches.clone().rfind(|said| said.sent_ms <= tick);
        if !before.is_some_and(|before| before.act.starts() && before.held_by(tick)) {
            return false;
        }
        let stop = switches.find(|said| said.sent_ms > tick && said.act.stops());
        // it was late perhaps, and so was not begun when it was stopped
        stop.is_none_or(|stop| {
            let come = tick + COME_MS;
            let is_troubled = |(from, to): &(u64, u64)| *from <= come && tick <= *to + COME_MS;
            come < stop.sent_ms && !faults.iter().any(is_troubled)
        })
    }

    fn must_not_come(&self, tick: u64) -> bool {
        let before = self.said.iter().filter(|said| said.sent_ms <= tick);
        let switches: Vec<_> =
            before.filter(|said| said.act.starts() || said.act.stops()).collect();
        let since = switches.iter().rposition(|said| said.act.starts()).map_or(0, |at| at + 1);
        let stopped = switches.get(since);
        stopped.is_some_and(|stopped| stopped.held_by(tick.saturating_sub(NOTICE_MS)))
    }

    /// The oldest that it may come as.
    fn oldest_variant(&self, tick: u64) -> u32 {
        let in_time = |said: &&Said| said.held_by(tick.saturating_sub(NOTICE_MS));
        self.said.iter().filter(in_time).filter_map(|said| said.act.variant()).max().unwrap_or(0)
    }
}

/// `faults` are times in which ticks may be late.
pub fn judge(
    histories: &[History],
    came: &AllCame,
    range: &RangeInclusive<u64>,
    faults: &[(u64, u64)],
) -> Judged {
    let mut judged = Judged::default();
    for history in histories {
        let named = |tick| (history.name.clone(), tick);
        let wanted = history.wanted(range.clone(), faults);
        judged.missing.extend(wanted.map(named).filter(|tick| !came.contains_key(tick)));
    }
    for (tick, came) in came {
        if came.generations.len() > 1 {
            judged.twice.push(tick.clone());
        }
        let Some(history) = histories.iter().find(|history| history.name == tick.0) else {
            continue;
        };
        if history.must_not_come(tick.1) {
            judged.against.push(tick.clone());
        }
        if came.variants.first().is_some_and(|variant| *variant < history.oldest_variant(tick.1)) {
            judged.as_before.push(tick.clone());
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(act: Act, sent_ms: u64, held_ms: u64) -> Said {
        Said { act, sent_ms, held_ms: Some(held_ms) }
    }

    fn history(said: Vec<Said>) -> History {
        History { name: "a".into(), every_ms: 1_000, said }
    }

    fn came(ticks: impl IntoIterator<Item = (u64, u32)>) -> AllCame {
        let came = |variant| Came { generations: [1].into(), variants: [variant].into() };
        ticks.into_iter().map(|(tick, variant)| (("a".to_owned(), tick), came(variant))).collect()
    }

    fn named(ticks: &[u64]) -> Vec<(String, u64)> {
        ticks.iter().map(|tick| ("a".to_owned(), *tick)).collect()
    }

    /// The judge is no better than what it finds.
    #[test]
    fn each_fault_is_found_and_what_may_be_is_none() {
        let history = history(vec![
            said(Act::Put(0), 0, 10),
            said(Act::Edit(1), 20_500, 20_600),
            said(Act::Pause, 30_500, 30_600),
            said(Act::Resume, 40_500, 40_600),
        ]);
        let all = [history];
        let range = 1_000..=50_000;
        let ticks = |leave: &[u64]| {
            let variant = |tick| u32::from(tick > 21_000);
            let left_out = |tick: &u64| (32_000..41_000).contains(tick) || leave.contains(tick);
            let ticks = range.clone().step_by(1_000).filter(|tick| !left_out(tick));
            came(ticks.map(|tick| (tick, variant(tick))).collect::<Vec<_>>())
        };
        let good = ticks(&[]);
        assert_eq!(judge(&all, &good, &range, &[]), Judged::default());
        let judged = judge(&all, &ticks(&[7_000, 27_000, 45_000]), &range, &[]);
        assert_eq!(judged.missing, named(&[7_000, 45_000]), "one is too near to the pause");
        let troubled = judge(&all, &ticks(&[7_000, 24_000]), &range, &[(23_000, 26_000)]);
        assert_eq!(troubled.missing, named(&[7_000]), "one was late perhaps");
        let mut twice = good.clone();
        twice.get_mut(&("a".into(), 9_000)).unwrap().generations.insert(2);
        assert_eq!(judge(&all, &twice, &range, &[]).twice, named(&[9_000]));
        let mut against = good.clone();
        against.extend(came([(31_000, 1), (35_000, 1), (40_000, 1)]));
        assert_eq!(judge(&all, &against, &range, &[]).against, named(&[35_000, 40_000]));
        let mut as_before = good.clone();
        as_before.extend(came([(21_000, 0), (22_000, 0), (20_000, 1)]));
        assert_eq!(judge(&all, &as_before, &range, &[]).as_before, named(&[22_000]));
    }

    #[test]
    fn what_nobody_answered_is_known_to_nobody() {
        let unanswered = Said { act: Act::Pause, sent_ms: 20_500, held_ms: None };
        let all = [history(vec![said(Act::Put(0), 0, 10), unanswered])];
        let range = 1_000..=40_000;
        let only = came((1_000..=15_000).step_by(1_000).map(|tick| (tick, 0)));
        assert_eq!(judge(&all, &only, &range, &[]), Judged::default());
        let on = came((1_000..=40_000).step_by(1_000).map(|tick| (tick, 0)));
        assert_eq!(judge(&all, &on, &range, &[]), Judged::default());
    }
}
