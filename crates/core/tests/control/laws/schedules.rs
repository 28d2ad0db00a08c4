//! Recurring schedules in the log: told again by a checkpoint, bounded, and refused with numbers.

use std::time::Duration;

use dormouse_core::control::schedules::command::{Done, MOST_LISTED, Named};
use dormouse_core::control::schedules::reply::{Outcome, Told};
use dormouse_core::control::schedules::{MOST_BYTES, MOST_SCHEDULES, Make, Runs, Stored};
use dormouse_core::control::{
    Clocks, Command, Entry, Fence, Limits, LogMessage, Refusal, ScheduleCommand, State, Taken,
};
use dormouse_core::recurring::definition::{MisfireText, Target, key};
use dormouse_core::recurring::{Definition, Schedule};
use dormouse_core::schedule::UnixMs;
use fastrand::Rng;

use super::{FRESH, Log, NOW};

/// A million keys, as a worker has them if nobody says otherwise.
const LIMITS: Limits = Limits {
    keys: 1_000_000,
    longest_delay: Duration::from_secs(86_400),
    memory: Duration::from_secs(86_400),
};

fn definition(name: &str) -> Definition {
    Definition {
        name: name.into(),
        every: Some("366d".into()),
        target: Target { queue: Some("q".into()), ..Target::default() },
        ..Definition::default()
    }
}

fn put(definition: Definition) -> Command {
    let schedule = Box::new(Schedule::new(definition).unwrap());
    let mark = fastrand::u64(..);
    Command::Schedules(ScheduleCommand::Put { schedule, if_revision: None, mark })
}

fn decide(log: &mut Log, command: &Command) -> Result<Told, Refusal> {
    let taken = Taken { now: NOW, ..FRESH };
    let answer = log.registrar.decide(&log.state, &LIMITS, taken, command);
    log.append();
    answer.told.expect("about schedules")
}

fn outcome(told: Result<Told, Refusal>) -> Outcome {
    match told {
        Ok(Told::Holds(holds)) => holds.outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn more_schedules_than_are_allowed_are_refused_with_the_number() {
    let mut log = Log::new();
    for number in 0..MOST_SCHEDULES {
        let told = decide(&mut log, &put(definition(&format!("s{number}"))));
        assert_eq!(outcome(told), Outcome::Created);
    }
    let one_more = decide(&mut log, &put(definition("one-more")));
    assert_eq!(one_more, Err(Refusal::TooManySchedules { limit: MOST_SCHEDULES }));
    let changed = Definition { every: Some("1d".into()), ..definition("s17") };
    assert_eq!(outcome(decide(&mut log, &put(changed))), Outcome::Changed, "it is none more");
    assert_eq!(log.state.schedules().len(), MOST_SCHEDULES);
    // and all of them are told by a checkpoint, to who saw nothing before
    let before = log.messages.len();
    while !log.registrar.checkpoint(&log.state) {
        log.append();
    }
    log.append();
    let mut reader = State::default();
    for message in &log.messages[before..] {
        let read = LogMessage::decode(&message.encode()).unwrap();
        let _ = reader.read(&read);
    }
    assert!(!reader.is_blind());
    assert_eq!(reader.schedules(), log.state.schedules());
}

#[test]
fn each_second_for_very_many_is_refused_with_the_numbers() {
    let mut log = Log::new();
    let each_second = |name: &str| Definition { every: Some("1s".into()), ..definition(name) };
    for number in 0..222 {
        let told = decide(&mut log, &put(each_second(&format!("s{number}"))));
        assert_eq!(outcome(told), Outcome::Created, "{number}");
    }
    let refused = decide(&mut log, &put(each_second("often"))).unwrap_err();
    let limit = 800_000;
    let (name, its, ticks) = ("often".to_owned(), 3_600, 223 * 3_600);
    assert_eq!(refused, Refusal::TooOften { name, its, ticks, limit }, "four of five keys");
    let each_minute = Definition { cron: Some("* * * * *".into()), every: None, ..definition("m") };
    assert_eq!(outcome(decide(&mut log, &put(each_minute))), Outcome::Created, "there is room");
}

#[test]
fn what_is_too_large_together_is_refused_with_the_numbers() {
    let mut log = Log::new();
    let large = |name: &str| Definition { body_text: Some("x".repeat(65_536)), ..definition(name) };
    let mut number = 0;
    let refused = loop {
        match decide(&mut log, &put(large(&format!("s{number}")))) {
            Ok(_) => number += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(log.state.schedules().bytes() <= MOST_BYTES);
    assert!(
        matches!(refused, Refusal::SchedulesTooLarge { bytes, limit: MOST_BYTES } if bytes > MOST_BYTES),
        "{refused:?}"
    );
    assert_eq!(number, MOST_BYTES / (65_536 + 300));
    let shorter = Definition { body_text: None, ..large("s0") };
    assert_eq!(outcome(decide(&mut log, &put(shorter))), Outcome::Changed);
    assert_eq!(outcome(decide(&mut log, &put(large("now")))), Outcome::Created, "there is room");
}

/// A few schedules, of which anything is said; ticks are made real meanwhile.
fn random(rng: &mut Rng, log: &Log) -> Command {
    let name = format!("s{}", rng.u8(0..4));
    let named = || Named { name: name.clone(), if_revision: None, mark: fastrand::u64(..) };
    let standing = log.state.schedules().get(&name);
    Command::Schedules(match (rng.u8(0..9), standing) {
        (0 | 1, _) => {
            return put(Definition {
                every: Some(format!("{}s", rng.u8(1..60))),
                body_text: Some(rng.u8(..).to_string()),
                ..definition(&name)
            });
        }
        (2, _) => ScheduleCommand::Pause { named: named(), note: rng.u8(..).to_string() },
        (3, _) => ScheduleCommand::Resume(named()),
        (4, _) if rng.bool() => ScheduleCommand::Delete(named()),
        (5, _) => {
            let ticks = (0..rng.u64(1..4)).map(|ms| UnixMs(NOW.0 + ms)).collect();
            ScheduleCommand::Fire { named: named(), ticks }
        }
        (_, Some(standing)) => {
            let schedule = standing.stored.schedule.as_ref().unwrap();
            let from = standing.progress.position;
            let ticks: Vec<_> = schedule.timing.after(from).take(rng.usize(0..5)).collect();
            let to = ticks.last().copied().unwrap_or(from);
            let revision = standing.stored.revision;
            ScheduleCommand::Make(Make { name, revision, from, ticks, to, asked: to })
        }
        (_, None) => ScheduleCommand::Resume(named()),
    })
}

#[test]
fn a_checkpoint_and_the_rest_tell_all_schedules() {
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let mut log = Log::new();
        for number in 0..rng.u64(20..100) {
            match rng.u8(0..12) {
                0 => log.another_registrar(number + 10),
                1 => {
                    while !log.registrar.checkpoint(&log.state) {
                        log.append();
                    }
                    log.append();
                }
                _ => {
                    let command = random(&mut rng, &log);
                    let _ = decide(&mut log, &command);
                }
            }
        }
        for from in 1..log.messages.len() {
            let mut state = State::default();
            for message in log.messages.iter().skip(from) {
                let decoded = LogMessage::decode(&message.encode());
                assert_eq!(decoded.as_ref(), Ok(message));
                let _ = state.read(&decoded.unwrap());
            }
            if !state.is_blind() {
                assert_eq!(state.schedules(), log.state.schedules(), "seed {seed}, from {from}");
            }
        }
        assert!(log.state.schedules().len() <= MOST_LISTED);
    }
}

/// How a registrar's worker asks, and the ticks that are made real by it.
fn tick(log: &mut Log, now: UnixMs) -> Vec<UnixMs> {
    let clocks = Clocks { wall: now, monotonic: Duration::from_millis(now.0 - NOW.0) };
    let mut made = Vec::new();
    for make in log.registrar.ask_for_ticks(clocks) {
        let command = Command::Schedules(ScheduleCommand::Make(make));
        let answer = log.registrar.decide(&log.state, &LIMITS, Taken { now, ..FRESH }, &command);
        log.append();
        made.extend(answer.made.into_iter().map(|made| made.tick));
    }
    made
}

fn put_at(log: &mut Log, definition: Definition, now: UnixMs) -> Outcome {
    let command = put(definition);
    let answer = log.registrar.decide(&log.state, &LIMITS, Taken { now, ..FRESH }, &command);
    log.append();
    outcome(answer.told.unwrap())
}

fn every(every: &str) -> Definition {
    Definition { every: Some(every.into()), ..definition("a") }
}

fn later(seconds: u64) -> UnixMs {
    NOW.plus(Duration::from_secs(seconds))
}

/// What the old rule had made real ahead is withdrawn, and does not stand in the way of the new one.
#[test]
fn a_changed_rule_fires_from_now_on() {
    let mut log = Log::new();
    assert_eq!(put_at(&mut log, every("50s"), NOW), Outcome::Created);
    assert_eq!(tick(&mut log, later(21)), [later(50)]);
    assert_eq!(put_at(&mut log, every("4s"), later(22)), Outcome::Changed);
    let made = tick(&mut log, later(23));
    assert_eq!(made[..2], [later(24), later(28)]);
    let old = log.state.get(&key("a", later(50)).hash()).unwrap();
    assert!(old.cancelled, "4 s do not come to 50");
}

/// It is late by its jitter, and not missed.
#[test]
fn an_edit_of_what_is_spread_over_a_time_loses_no_tick() {
    let skip = MisfireText { fire: Some("skip".into()), ..MisfireText::default() };
    let spread = |body: &str| Definition {
        jitter: Some("1h".into()),
        misfire: Some(skip.clone()),
        body_text: Some(body.into()),
        ..every("2h")
    };
    let mut log = Log::new();
    let first = UnixMs(NOW.0.next_multiple_of(7_200_000));
    let schedule = Schedule::new(spread("old")).unwrap();
    let due = schedule.due(first);
    assert!(due > first.plus(Duration::from_secs(600)), "{due}: else it shows nothing");
    put_at(&mut log, spread("old"), first.minus(Duration::from_secs(90)));
    assert_eq!(tick(&mut log, first.minus(Duration::from_secs(20))), [first]);
    let edited = first.plus(Duration::from_secs(300));
    assert_eq!(put_at(&mut log, spread("new"), edited), Outcome::Changed);
    assert_eq!(tick(&mut log, edited.plus(Duration::from_secs(1))), [first], "as it is now");
}

fn limited(overlap: &str) -> Definition {
    Definition { overlap: Some(overlap.into()), overlap_timeout: Some("1m".into()), ..every("10s") }
}

fn done(log: &mut Log, tick: UnixMs, run: u64, now: UnixMs) -> (Outcome, Vec<UnixMs>) {
    let done = Done { name: "a".into(), tick, run };
    let mark = fastrand::u64(..);
    let command = Command::Schedules(ScheduleCommand::Done { done, mark });
    let answer = log.registrar.decide(&log.state, &LIMITS, Taken { now, ..FRESH }, &command);
    log.append();
    (outcome(answer.told.unwrap()), answer.made.into_iter().map(|made| made.tick).collect())
}

fn runs(log: &Log) -> &Runs {
    &log.state.schedules().get("a").unwrap().progress.under_way
}

/// What is due by then may have begun, and is not withdrawn.
fn begin(log: &mut Log, horizon: UnixMs) {
    let fence = Command::Fence(Fence { worker: 5, number: horizon.0, horizon });
    let answer = log.registrar.decide(&log.state, &LIMITS, FRESH, &fence);
    assert!(answer.told.is_none());
    log.append();
}

/// Looks each second, and tells when each tick was made real.
fn look(log: &mut Log, seconds: std::ops::RangeInclusive<u64>) -> Vec<(u64, UnixMs)> {
    let mut all = Vec::new();
    for second in seconds {
        all.extend(tick(log, later(second)).into_iter().map(|tick| (second, tick)));
    }
    all
}

#[test]
fn a_run_that_is_not_over_has_the_next_ticks_left_out() {
    let mut log = Log::new();
    assert_eq!(put_at(&mut log, limited("skip"), later(1)), Outcome::Created);
    assert_eq!(look(&mut log, 2..=35), [(10, later(10))], "when it is due, and the others not");
    assert_eq!((runs(&log).skipped, runs(&log).running.len()), (2, 1));
    // of a run that has not begun, of another tick, of another number: nothing
    for (at, run) in [(40, 2), (20, 1), (10, 2)] {
        assert_eq!(done(&mut log, later(at), run, later(36)), (Outcome::Unchanged, vec![]));
    }
    assert_eq!(done(&mut log, later(10), 1, later(37)), (Outcome::Done, vec![]));
    assert_eq!(done(&mut log, later(10), 1, later(37)), (Outcome::Unchanged, vec![]), "twice");
    assert_eq!(look(&mut log, 38..=45), [(40, later(40))]);
    // said again, it says nothing of the run that is going on
    assert_eq!(done(&mut log, later(10), 1, later(46)), (Outcome::Unchanged, vec![]));
    // and if nobody says so, a minute is enough
    assert_eq!(look(&mut log, 47..=105), [(100, later(100))]);
    assert_eq!(runs(&log).last_skipped, [50, 60, 70, 80, 90].map(later));
}

#[test]
fn the_newest_tick_waits_for_a_run_that_is_not_over() {
    let mut log = Log::new();
    put_at(&mut log, limited("buffer_one"), later(1));
    assert_eq!(look(&mut log, 2..=35), [(10, later(10))]);
    assert_eq!((runs(&log).skipped, runs(&log).waiting), (1, Some(later(30))));
    assert_eq!(done(&mut log, later(10), 1, later(36)), (Outcome::Done, vec![later(30)]));
    assert_eq!((runs(&log).running[0].tick, runs(&log).waiting), (later(30), None));
    // it waits through an edit that leaves the rule as it is, and a registrar that follows
    look(&mut log, 37..=45);
    begin(&mut log, later(45));
    let edited = Definition { body_text: Some("new".into()), ..limited("buffer_one") };
    assert_eq!(put_at(&mut log, edited.clone(), later(46)), Outcome::Changed);
    log.another_registrar(2);
    assert_eq!(runs(&log).waiting, Some(later(40)));
    // a minute after it was made real, it is over without a word
    let made = look(&mut log, 47..=97);
    assert_eq!(made, [(96, later(90))]);
    // a pause leaves out what waits, and the run goes on
    look(&mut log, 98..=105);
    assert_eq!(runs(&log).waiting, Some(later(100)));
    begin(&mut log, later(105));
    let named = Named { name: "a".into(), if_revision: None, mark: 77 };
    let pause = Command::Schedules(ScheduleCommand::Pause { named, note: String::new() });
    decide(&mut log, &pause).unwrap();
    assert_eq!((runs(&log).waiting, runs(&log).running.len()), (None, 1));
    assert_eq!(runs(&log).last_skipped.last(), Some(&later(100)));
    assert_eq!(done(&mut log, later(90), 3, later(107)), (Outcome::Done, vec![]));
    // where they may run beside each other again, nothing waits
    let mut log = Log::new();
    put_at(&mut log, limited("buffer_one"), later(1));
    look(&mut log, 2..=25);
    begin(&mut log, later(25));
    put_at(&mut log, every("10s"), later(26));
    assert_eq!(look(&mut log, 27..=27)[0], (27, later(20)));
}

/// An older version reads a schedule whose runs may overlap, and knows that it does not know any other.
#[test]
fn only_one_whose_runs_may_not_overlap_is_of_a_later_version() {
    for (definition, version) in [(every("10s"), 1), (limited("skip"), 2)] {
        let stored = Stored::new(Schedule::new(definition).unwrap(), 1, NOW);
        let mut bytes = Vec::new();
        Entry::Schedule(std::sync::Arc::new(stored)).encode(&mut bytes);
        let length = bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        assert_eq!(bytes[1 + length], version);
    }
}
