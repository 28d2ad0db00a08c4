//! In: all schedules, as decided, and the moment. Out: the ticks that are to be asked for now. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command::Make;
use super::{Schedules, Standing};
use crate::control::fence::Clocks;
use crate::control::horizons::Sequence;
use crate::recurring::Schedule;
use crate::recurring::misfire::{Due, due};
use crate::schedule::UnixMs;

/// What was asked for and is not decided yet is asked for again after this, then after twice as long.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_DOUBLINGS: u32 = 5;
/// Ticks asked for at one look, so that no command waits long behind them.
const MOST_AT_ONCE: usize = 1_000;
/// A look costs what there are schedules.
const PAUSE: Duration = Duration::from_millis(500);
/// What was due so long ago is put aside, if nothing else is asked for.
const PUT_ASIDE: Duration = Duration::from_secs(120);

/// Of one registrar.
#[derive(Debug, Default)]
pub struct Ticker {
    looked: BTreeMap<String, Looked>,
    last: Option<Duration>,
    /// Where the next look begins: each has its turn.
    begins: String,
}

/// What was found at a look.
#[derive(Debug)]
struct Looked {
    /// It holds only as long as the schedule stands so.
    stands: Stands,
    /// Nothing is to be asked for before.
    at: UnixMs,
    /// How often it was asked for, and when last.
    asked: u32,
    asked_at: Duration,
}

/// Revision, position, how many are not put aside, how many are not over, and the tick that waits for them.
type Stands = (Sequence, UnixMs, usize, usize, Option<UnixMs>);

impl Ticker {
    /// The next commands to publish.
    pub fn ask(&mut self, schedules: &Schedules, now: Clocks) -> Vec<Make> {
        if schedules.is_empty() || self.last.is_some_and(|last| now.monotonic < last + PAUSE) {
            return Vec::new();
        }
        self.last = Some(now.monotonic);
        let (mut makes, mut ticks) = (Vec::new(), 0);
        let begins = std::mem::take(&mut self.begins);
        let later = schedules.after(&begins);
        let earlier = schedules.iter().take_while(|(name, _)| **name <= *begins);
        for (name, standing) in later.chain(earlier) {
            if ticks >= MOST_AT_ONCE {
                break;
            }
            self.begins = name.to_owned();
            if let Some(make) = self.look(name, standing, now) {
                ticks += make.ticks.len().max(1);
                makes.push(make);
            }
        }
        if self.looked.len() > 2 * schedules.len() {
            self.looked.retain(|name, _| schedules.get(name).is_some());
        }
        makes
    }

    fn look(&mut self, name: &str, standing: &Standing, now: Clocks) -> Option<Make> {
        let Standing { stored, progress } = standing;
        let schedule = stored.schedule.as_ref().filter(|_| stored.pause.is_none())?;
        let open = progress.made.iter().filter(|made| !made.is_past).count();
        let runs = &progress.under_way;
        let (running, waiting) = (runs.running.len(), runs.waiting);
        let stands = (stored.revision, progress.position, open, running, waiting);
        let known = self.looked.get(name).filter(|known| known.stands == stands);
        let asked = match known {
            Some(known) if known.asked > 0 => {
                let patience = PATIENCE * (1 << (known.asked - 1).min(MOST_DOUBLINGS));
                if now.monotonic < known.asked_at + patience {
                    return None;
                }
                known.asked
            }
            Some(known) if now.wall < known.at => return None,
            Some(_) | None => 0,
        };
        let position = progress.position;
        let ahead = schedule.ahead();
        let misfire = schedule.misfire_by_jitter();
        let found = due(&schedule.timing, &misfire, ahead, position, now.wall);
        let without_ticks =
            put_aside_at(schedule, standing).into_iter().chain(waits_until(schedule, standing));
        let without_ticks = without_ticks.min();
        let is_at_hand = without_ticks.is_some_and(|at| at <= now.wall);
        let found = found.or_else(|| is_at_hand.then(|| Due { ticks: Vec::new(), to: position }));
        let at = match &found {
            Some(_) => now.wall,
            None => {
                let next = schedule.timing.next(position).map(|next| next.minus(ahead.least));
                next.into_iter().chain(without_ticks).min().unwrap_or(UnixMs(u64::MAX))
            }
        };
        let asked = asked + u32::from(found.is_some());
        let looked = Looked { stands, at, asked, asked_at: now.monotonic };
        self.looked.insert(name.to_owned(), looked);
        let Due { ticks, to } = found?;
        let (name, asked) = (name.to_owned(), now.wall);
        Some(Make { name, revision: stored.revision, from: position, ticks, to, asked })
    }
}

/// When the tick that waits for runs need not do so any longer, whether or not somebody says that they are over.
fn waits_until(schedule: &Schedule, standing: &Standing) -> Option<UnixMs> {
    let runs = &standing.progress.under_way;
    runs.waiting?;
    let timeout = schedule.overlap.timeout().unwrap_or_default();
    let ends = runs.running.iter().map(|run| run.since.plus(timeout)).max();
    Some(ends.unwrap_or_default())
}

/// When the oldest that is not put aside can be.
fn put_aside_at(schedule: &Schedule, standing: &Standing) -> Option<UnixMs> {
    let open = standing.progress.made.iter().filter(|made| !made.is_past);
    open.map(|made| schedule.due(made.tick).plus(PUT_ASIDE)).min()
}
