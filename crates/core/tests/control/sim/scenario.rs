//! What clients ask for, and when something goes wrong: drawn from the seed.

use dormouse_core::control::IfExists;

use super::event::{Attack, Event, Fault};
use super::op::Kind;
use super::recurring;
use super::world::{BEGIN, HEARTBEAT, World};

/// When clients and faults end, at the latest, but for what lasts longer.
const LASTS: u64 = 14_000;

/// Schedules everything; the time of the last fault's end.
pub fn plan(world: &mut World) -> u64 {
    let uniques = !world.profile.any_prefetch;
    for key in 0..world.profile.keys {
        if uniques && world.rng.bool() { unique(world, key) } else { plain(world, key) }
    }
    for _ in 0..world.rng.usize(0..4) {
        let (at, due) = times(world);
        publish(world, at, Kind::Unkeyed { due }, 31);
    }
    let attacked_until = attack(world);
    faults(world).max(attacked_until)
}

/// Keys of attacks, beside those of chance.
const FIRST: usize = 20;

/// What the seed is made to try, at a time and with delays that vary; the end of its last fault.
fn attack(world: &mut World) -> u64 {
    let t = BEGIN + 3_000 + world.rng.u64(0..9_000);
    match world.profile.attack {
        Attack::None => BEGIN,
        Attack::ClockAhead => clock_ahead(world, t),
        Attack::ClockBack => clock_back(world, t),
        Attack::Overtaken => overtaken(world, t),
        Attack::Purged => purged(world, t),
        Attack::Elections => elections(world, t),
        Attack::PowerCuts => power_cuts(world, t),
        Attack::Outage => outage(world, t),
        Attack::RunNow => run_now(world, t),
        Attack::Recurring => recurring::plan(world),
    }
}

pub fn fault(world: &mut World, at: u64, fault: Fault) {
    world.at(at, Event::Fault(fault));
}

fn for_each_worker(world: &mut World, at: u64, what: impl Fn(usize) -> Fault) {
    (0..world.profile.workers).for_each(|worker| fault(world, at, what(worker)));
}

fn clock_ahead(world: &mut World, t: u64) -> u64 {
    for key in FIRST..FIRST + 3 {
        let due = t + world.rng.u64(50..400);
        publish(world, t - 2_000, Kind::Plain { due }, key);
    }
    let by = world.rng.u64(1_100..3_000);
    publish(world, t - 2_000, Kind::Plain { due: t + 100 + by }, FIRST + 3);
    let said = t + world.rng.u64(0..90);
    publish(world, said, Kind::Cancel { due_by: None }, FIRST + 3);
    let at = said + world.rng.u64(1..20);
    for_each_worker(world, at, |machine| Fault::Clock { machine, by: by as i64 });
    at
}

fn clock_back(world: &mut World, t: u64) -> u64 {
    for key in FIRST..FIRST + 4 {
        let due = t + world.rng.u64(200..500);
        publish(world, t - 2_000, Kind::Plain { due }, key);
        publish(world, t + 160, Kind::Cancel { due_by: None }, key);
    }
    fault(world, t + 120, Fault::FreezeRegistrar { lasts: 9_000 });
    let by = -world.rng.i64(1_500..3_500);
    for_each_worker(world, t + 150, |machine| Fault::Clock { machine, by });
    t + 9_200
}

fn overtaken(world: &mut World, t: u64) -> u64 {
    fault(world, t - 30, Fault::FreezeRegistrar { lasts: 9_000 });
    for key in FIRST..FIRST + 4 {
        let due = t + world.rng.u64(1_200..3_000);
        publish(world, t - 2_000, Kind::Plain { due }, key);
        let said = t + world.rng.u64(0..100);
        publish(world, said, Kind::Cancel { due_by: None }, key);
    }
    for turn in 0..world.rng.u64(2..12) {
        let at = t + HEARTBEAT - 20 + turn * world.rng.u64(5..40);
        fault(world, at, Fault::Rotate);
    }
    t + 9_000
}

fn purged(world: &mut World, t: u64) -> u64 {
    let due = t + world.rng.u64(1_500..5_000);
    for key in FIRST..FIRST + 3 {
        publish(world, t - 2_000, Kind::Unique { if_exists: IfExists::Replace, due }, key);
        publish(world, t, Kind::Cancel { due_by: None }, key);
    }
    publish(world, t + 1, Kind::Unique { if_exists: IfExists::Keep, due }, FIRST + 3);
    let at = t + world.rng.u64(5..60);
    for_each_worker(world, at, |worker| Fault::Kill { worker, down: 1_000 });
    fault(world, at + 300, Fault::Purge);
    at + 1_000
}

fn elections(world: &mut World, t: u64) -> u64 {
    if !world.profile.any_prefetch {
        (FIRST..FIRST + 3).for_each(|key| unique(world, key));
    }
    let mut at = t;
    for _ in 0..world.rng.usize(4..16) {
        at += world.rng.u64(5..400);
        let worker = world.rng.usize(0..world.profile.workers);
        let what = match world.rng.u8(0..6) {
            0 => Fault::Rotate,
            1 => Fault::Stop { worker, down: world.rng.u64(50..600) },
            2 | 3 => Fault::OperatorAccepts,
            _ => Fault::Channel { worker, unnoticed: world.rng.u64(0..2_000) },
        };
        fault(world, at, what);
    }
    at + 2_000
}

fn power_cuts(world: &mut World, t: u64) -> u64 {
    if !world.profile.any_prefetch {
        (FIRST..FIRST + 2).for_each(|key| unique(world, key));
    }
    let mut at = t;
    for _ in 0..world.rng.usize(2..4) {
        let down = world.rng.u64(100..1_500);
        fault(world, at, Fault::PowerCut { down });
        at += world.rng.u64(2_000..5_000);
    }
    at
}

fn outage(world: &mut World, t: u64) -> u64 {
    for key in FIRST..FIRST + 3 {
        let due = t + world.rng.u64(1_500..9_000);
        publish(world, t - 1_000, Kind::Plain { due }, key);
        publish(world, t, Kind::Cancel { due_by: Some(due) }, key);
    }
    let down = world.rng.u64(60_000..300_000);
    fault(world, t + 500, Fault::Outage { down });
    t + 2_000 + down
}

/// Far away, perhaps put off before; found while its key gets other commands and registrars follow each other.
fn run_now(world: &mut World, t: u64) -> u64 {
    let due = t + 8_000 + world.rng.u64(0..8_000);
    for key in FIRST..FIRST + 5 {
        let is_unique = world.rng.bool() && !world.profile.any_prefetch;
        let if_exists = IfExists::Replace;
        let kind = if is_unique { Kind::Unique { if_exists, due } } else { Kind::Plain { due } };
        publish(world, t - 2_500, kind, key);
        if world.rng.bool() {
            // with luck it is acknowledged only after the message was moved
            let before = [world.rng.u64(0..50), world.rng.u64(0..2_000)];
            let at = t - before[world.rng.usize(0..2)];
            publish(world, at, Kind::Reschedule { due: due + 5_000 }, key);
        }
        let sooner = world.rng.bool().then(|| t + world.rng.u64(1_000..6_000));
        if world.profile.any_prefetch {
            continue;
        }
        publish(world, t, Kind::RunNow { due: sooner }, key);
        for _ in 0..world.rng.usize(0..4) {
            let at = t + world.rng.u64(0..1_200);
            let another = due + world.rng.u64(0..4_000);
            let kind = match world.rng.u8(0..8) {
                0 => Kind::Cancel { due_by: None },
                1..3 => Kind::Reschedule { due: another + 2_000 },
                3..5 => Kind::RunNow { due: None },
                _ if is_unique => Kind::Unique { if_exists, due: another },
                _ => continue,
            };
            publish(world, at, kind, key);
        }
    }
    let mut at = t + world.rng.u64(5..500);
    for _ in 0..world.rng.usize(0..6) {
        at += world.rng.u64(5..500);
        let worker = world.rng.usize(0..world.profile.workers);
        let what = match world.rng.u8(0..6) {
            0 | 1 => Fault::Rotate,
            2 => Fault::Kill { worker, down: world.rng.u64(50..900) },
            3 => Fault::Freeze { worker, lasts: world.rng.u64(100..3_000) },
            _ => Fault::Channel { worker, unnoticed: world.rng.u64(0..2_000) },
        };
        fault(world, at, what);
    }
    at + 3_000
}

pub fn publish(world: &mut World, at: u64, kind: Kind, key: usize) {
    let op = world.judge.add(kind, key);
    world.at(at, Event::Publish(op));
}

/// When it is published, and when it is due.
fn times(world: &mut World) -> (u64, u64) {
    let at = BEGIN + 200 + world.rng.u64(0..LASTS);
    let delay = match world.rng.u8(0..4) {
        0 => world.rng.u64(0..600),
        1 => world.rng.u64(600..2_500),
        _ => world.rng.u64(2_500..12_000),
    };
    (at, at + delay)
}

/// One schedule, its key used once; a cancel near the last moment, perhaps put off before.
fn plain(world: &mut World, key: usize) {
    let (at, mut due) = times(world);
    publish(world, at, Kind::Plain { due }, key);
    for _ in 0..world.rng.usize(0..3) {
        let later = due + world.rng.u64(0..8_000);
        let said = world.rng.u64(at..=due);
        publish(world, said, Kind::Reschedule { due: later }, key);
        if world.rng.bool() {
            due = later;
        }
    }
    if world.rng.u8(0..6) == 0 && !world.profile.any_prefetch {
        let said = world.rng.u64(at..=due);
        publish(world, said, Kind::RunNow { due: None }, key);
    }
    if world.rng.u8(0..4) > 0 {
        let said = near(world, due).max(BEGIN + 100);
        let due_by = world.rng.bool().then_some(due + 30_000);
        publish(world, said, Kind::Cancel { due_by }, key);
    }
}

/// Around a due time, most often just in time.
fn near(world: &mut World, due: u64) -> u64 {
    match world.rng.u8(0..4) {
        0 => due - world.rng.u64(0..6_000),
        1 => due + world.rng.u64(0..3_000),
        _ => due - world.rng.u64(900..1_600),
    }
}

/// Schedules, cancels and schedules again with one key.
fn unique(world: &mut World, key: usize) {
    let mut at = BEGIN + 200 + world.rng.u64(0..LASTS / 2);
    let mut due = at;
    for _ in 0..world.rng.usize(2..9) {
        let kind = match world.rng.u8(0..8) {
            0..5 => {
                let if_exists = if world.rng.bool() { IfExists::Replace } else { IfExists::Keep };
                due =
                    at + [world.rng.u64(0..900), world.rng.u64(900..9_000)][world.rng.usize(0..2)];
                Kind::Unique { if_exists, due }
            }
            5 if world.rng.bool() => Kind::RunNow { due: None },
            5..7 => Kind::Cancel { due_by: None },
            _ => {
                due = at.max(due) + world.rng.u64(0..6_000);
                Kind::Reschedule { due }
            }
        };
        publish(world, at, kind, key);
        at = if world.rng.bool() {
            at + world.rng.u64(0..400)
        } else {
            near(world, due).max(at + 1)
        };
    }
}

fn faults(world: &mut World) -> u64 {
    let mut end = BEGIN + LASTS + 12_000;
    let count = world.rng.usize(0..8);
    let mut clock_free = vec![(0_u64, false); world.profile.workers];
    for _ in 0..count {
        let at = BEGIN + 300 + world.rng.u64(0..LASTS + 8_000);
        let drawn = draw(world);
        let ends = at + duration(&drawn);
        if let Fault::Clock { machine, by } = drawn {
            if matches!(world.profile.attack, Attack::ClockAhead | Attack::ClockBack) {
                continue;
            }
            // set back and forth within a look is a limit that docs/control.md states
            let (last, was_back) = clock_free[machine];
            if (was_back || by < 0) && last != 0 {
                continue;
            }
            clock_free[machine] = (at, by < 0);
        }
        end = end.max(ends);
        fault(world, at, drawn);
    }
    end
}

fn duration(fault: &Fault) -> u64 {
    match fault {
        Fault::Kill { down, .. } | Fault::Stop { down, .. } => *down,
        Fault::Freeze { lasts, .. } | Fault::Cut { lasts, .. } => *lasts,
        Fault::Channel { unnoticed, .. } => *unnoticed,
        Fault::PowerCut { down } | Fault::Outage { down } => *down + 1_000,
        Fault::FreezeRegistrar { lasts } => *lasts,
        Fault::Suspect { .. }
        | Fault::Clock { .. }
        | Fault::LoseHead
        | Fault::DeleteLog
        | Fault::Rotate
        | Fault::Purge
        | Fault::OperatorAccepts => 0,
    }
}

fn draw(world: &mut World) -> Fault {
    let worker = world.rng.usize(0..world.profile.workers);
    let rng = &mut world.rng;
    loop {
        let fault = match rng.u8(0..20) {
            0..3 => Fault::Kill { worker, down: rng.u64(200..4_000) },
            3..5 => Fault::Stop { worker, down: rng.u64(200..4_000) },
            5..8 => Fault::Freeze { worker, lasts: rng.u64(200..12_000) },
            8..10 => Fault::Cut { worker, lasts: rng.u64(200..9_000) },
            10..13 => Fault::Channel { worker, unnoticed: rng.u64(0..3_000) },
            13 => Fault::Suspect { worker },
            14 => Fault::PowerCut { down: rng.u64(200..5_000) },
            15 => Fault::Outage {
                down: [rng.u64(500..5_000), rng.u64(60_000..300_000)][rng.usize(0..2)],
            },
            16..18 if world.profile.clocks => {
                Fault::Clock { machine: worker, by: rng.i64(-5_000..5_000) }
            }
            18 if world.profile.log_damaged => Fault::LoseHead,
            19 if world.profile.log_damaged && rng.bool() => Fault::DeleteLog,
            _ => continue,
        };
        return fault;
    }
}
