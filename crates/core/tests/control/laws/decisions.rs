//! What is answered, released and vouched for.

use std::time::Duration;

use dormouse_core::control::fence::{LOOKAHEAD, STEP};
use dormouse_core::control::{
    Blindness, Cause, Clocks, Command, Copies, Fence, Fences, IfExists, Keyed, MOST_UNACKED,
    Outcome, Refusal, State, Taken, Vouched, Wait, Wake, wake,
};
use dormouse_core::schedule::UnixMs;

use super::{
    FRESH, LIMITS, Log, NOW, all_that_is_so, bring_forward, cancel, key, reschedule, run_now,
    unique,
};

#[test]
fn outcomes() {
    let mut log = Log::new();
    let fence =
        |in_ms| Command::Fence(Fence { worker: 5, number: in_ms, horizon: UnixMs(NOW.0 + in_ms) });
    assert_eq!(log.decide(&cancel("a"), FRESH), Outcome::Noted);
    assert_eq!(log.decide(&reschedule("a", 9_000), FRESH), Outcome::Refused(Refusal::Cancelled));
    assert_eq!(log.decide(&reschedule("b", 9_000), FRESH), Outcome::Noted);
    let stands = UnixMs(NOW.0 + 9_000);
    assert_eq!(
        log.decide(&reschedule("b", 8_000), FRESH),
        Outcome::Refused(Refusal::NotLater { stands })
    );
    assert_eq!(log.decide(&unique("c", IfExists::Keep, 5_000, 1), FRESH), Outcome::Scheduled);
    assert_eq!(log.decide(&unique("c", IfExists::Keep, 6_000, 2), FRESH), Outcome::Kept);
    assert_eq!(log.decide(&unique("c", IfExists::Replace, 7_000, 3), FRESH), Outcome::Replaced);
    assert_eq!(log.decide(&reschedule("c", 9_000), FRESH), Outcome::Scheduled);
    assert_eq!(log.decide(&cancel("c"), FRESH), Outcome::Cancelled);
    assert_eq!(log.decide(&cancel("c"), FRESH), Outcome::Cancelled);
    assert_eq!(log.decide(&unique("c", IfExists::Keep, 5_000, 4), FRESH), Outcome::Scheduled);
    log.decide(&fence(5_000), FRESH);
    assert_eq!(log.decide(&reschedule("c", 20_000), FRESH), Outcome::TooLate);
    assert_eq!(log.decide(&cancel("c"), FRESH), Outcome::TooLate);
    // a fence from before says nothing about what is scheduled after it, however far it reached
    log.decide(&fence(10_000_000_000), FRESH);
    assert_eq!(log.decide(&unique("c", IfExists::Keep, 5_000, 5), FRESH), Outcome::Scheduled);
    assert_eq!(log.decide(&cancel("c"), FRESH), Outcome::Cancelled);
    // an earlier copy of it may have been tried, if a power cut took what the log knew
    let again = Taken { redelivered: true, ..FRESH };
    assert_eq!(log.decide(&unique("d", IfExists::Replace, 5_000, 6), again), Outcome::Scheduled);
    assert_eq!(log.decide(&cancel("d"), FRESH), Outcome::TooLate);
    assert_eq!(Outcome::Noted.with_index(false), Outcome::Unknown);
    assert_eq!(Outcome::TooLate.with_index(false), Outcome::TooLate);
}

#[test]
fn a_run_now_brings_forward_what_nothing_was_said_about_since() {
    let mut log = Log::new();
    let at = |in_ms| UnixMs(NOW.0 + in_ms);
    let mut number = 0;
    let mut asked = |log: &mut Log, name, generation, in_ms| {
        number += 1;
        log.decide(&bring_forward(name, generation, in_ms, number), FRESH)
    };
    let put_off = |in_ms| Outcome::Refused(Refusal::PutOff { stands: at(in_ms) });
    // nothing is known of it, and nothing is noted
    assert_eq!(log.decide(&run_now("a", None), FRESH), Outcome::Running);
    assert_eq!(log.state.get(&key("a").hash()), None);
    assert_eq!(asked(&mut log, "a", None, 0), Outcome::Moved);
    log.decide(&reschedule("a", 9_000), FRESH);
    assert_eq!(asked(&mut log, "a", None, 0), put_off(9_000), "no run-now since");
    let later = Outcome::Refused(Refusal::NotEarlier { stands: at(9_000) });
    assert_eq!(log.decide(&run_now("a", Some(9_001)), FRESH), later);
    assert_eq!(log.decide(&run_now("a", Some(500)), FRESH), Outcome::Running);
    let stands = at(9_000);
    let not_later = Outcome::Refused(Refusal::NotLater { stands });
    assert_eq!(log.decide(&reschedule("a", 8_000), FRESH), not_later);
    assert_eq!(asked(&mut log, "a", None, 500), put_off(9_000), "as it was told");
    assert_eq!(log.decide(&run_now("a", Some(500)), FRESH), Outcome::Running);
    assert_eq!(asked(&mut log, "a", None, 500), Outcome::Moved);
    assert_eq!(log.state.get(&key("a").hash()).unwrap().due, Some(at(500)));
    log.decide(&cancel("a"), FRESH);
    let cancelled = Outcome::Refused(Refusal::Cancelled);
    assert_eq!(log.decide(&run_now("a", None), FRESH), cancelled);
    assert_eq!(asked(&mut log, "a", None, 0), cancelled);

    // of unique schedules, the one that counts
    log.decide(&unique("u", IfExists::Replace, 5_000, 101), FRESH);
    let first = log.state.get(&key("u").hash()).map(|record| record.generation);
    assert_eq!(log.decide(&run_now("u", None), FRESH), Outcome::Running);
    assert_eq!(asked(&mut log, "u", first, 10), Outcome::Moved);
    assert_eq!(log.decide(&cancel("u"), FRESH), Outcome::Cancelled, "no fence has reached it");
    assert_eq!(asked(&mut log, "u", first, 10), cancelled);
    log.decide(&unique("u", IfExists::Replace, 5_000, 102), FRESH);
    assert_eq!(log.decide(&run_now("u", None), FRESH), Outcome::Running);
    assert_eq!(asked(&mut log, "u", first, 10), Outcome::Refused(Refusal::Replaced));
    let due = log.state.get(&key("u").hash()).unwrap().due;
    assert_eq!(due, Some(at(5_000)), "it is another's");
}

#[test]
fn a_move_is_not_decided_again() {
    let mut log = Log::new();
    let commands = [
        reschedule("a", 9_000),
        run_now("a", None),
        bring_forward("a", None, 10, 1),
        reschedule("a", 7_000),
    ];
    for command in &commands {
        log.decide(command, FRESH);
    }
    let before = all_that_is_so(&log.state);
    log.another_registrar(2);
    let decided = log.registrar.returned(&commands, &mut Copies::default()).unwrap();
    assert_eq!(decided, 3, "up to the move");
    let again = |decided| Taken { redelivered: true, decided, now: NOW };
    for (number, command) in commands.iter().enumerate() {
        log.decide(command, again(number < decided));
    }
    assert_eq!(all_that_is_so(&log.state), before);
    let unanswered = Outcome::Refused(Refusal::Unanswered);
    assert_eq!(log.decide(&bring_forward("a", None, 10, 2), again(true)), unanswered);
}

#[test]
fn what_was_brought_forward_wakes_by_what_was_read_up_to_there() {
    let mut log = Log::new();
    let at = |in_ms| UnixMs(NOW.0 + in_ms);
    log.decide(&reschedule("a", 9_000), FRESH);
    let moved = log.state.last() + 5;
    let keyed = Keyed {
        key: key("a").hash(),
        generation: None,
        moved,
        log: log.state.log(),
        wake_at: at(10),
    };
    let fence = |sequence| Some(Vouched { sequence, horizon: at(1_000) });
    assert_eq!(wake(&keyed, &log.state, fence(moved)), Wake::Wait(Wait::Fence), "stale, perhaps");
    assert_eq!(wake(&keyed, &log.state, fence(moved + 1)), Wake::SleepAgain(at(9_000)));
}

#[test]
fn a_full_log_refuses_what_is_new_and_forgets_in_its_own_time() {
    let mut log = Log::new();
    for number in 0..LIMITS.keys {
        assert_eq!(log.decide(&cancel(&format!("full {number}")), FRESH), Outcome::Noted);
    }
    let full = Outcome::Refused(Refusal::Full { limit: LIMITS.keys });
    assert_eq!(log.decide(&cancel("one more"), FRESH), full);
    assert_eq!(log.decide(&unique("one more", IfExists::Keep, 1, 1), FRESH), full);
    assert_eq!(log.decide(&cancel("full 0"), FRESH), Outcome::Noted, "it is known");
    // beats that no registrar lived through count as a minute at most
    let remembered = LIMITS.longest_delay + LIMITS.memory;
    for _ in 0..remembered.as_secs() / 60 {
        log.registrar.beat(Duration::from_secs(1_000_000));
    }
    log.append();
    assert!(log.state.get(&key("full 0").hash()).is_some(), "a second is left");
    for _ in 0..70 {
        log.registrar.beat(Duration::from_secs(60));
    }
    log.append();
    assert_eq!(log.state.get(&key("full 0").hash()), None);
    assert_eq!(log.state.keys_and_bytes().0, 0, "all are swept");
    assert_eq!(log.decide(&cancel("one more"), FRESH), Outcome::Noted);
}

#[test]
fn what_was_decided_is_not_decided_again() {
    let mut log = Log::new();
    let commands = [
        unique("a", IfExists::Replace, 5_000, 1),
        cancel("a"),
        unique("a", IfExists::Keep, 6_000, 2),
        unique("a", IfExists::Keep, 7_000, 3),
        reschedule("b", 1_000),
    ];
    for command in &commands {
        log.decide(command, FRESH);
    }
    let before = all_that_is_so(&log.state);
    log.another_registrar(2);
    let decided = log.registrar.returned(&commands, &mut Copies::default()).unwrap();
    assert_eq!(decided, 4, "up to the last one that the log knows");
    let twice = [commands[0].clone(), cancel("a"), commands[0].clone()];
    let mut copies = Copies::default();
    assert_eq!(log.registrar.returned(&twice, &mut copies), None);
    assert_eq!(log.registrar.returned(&twice, &mut copies), Some(3), "on another channel: copies");
    let others = [commands[3].clone(), commands[3].clone()];
    assert_eq!(log.registrar.returned(&others, &mut copies), None, "but not these");
    let again = Taken { redelivered: true, decided: true, now: NOW };
    let answers: Vec<_> =
        commands[..decided].iter().map(|command| log.decide(command, again)).collect();
    let expected = [Outcome::Scheduled, Outcome::Noted, Outcome::Scheduled, Outcome::Kept];
    assert_eq!(answers, expected);
    assert_eq!(all_that_is_so(&log.state), before);
    for message in 10..10 + MOST_UNACKED as u64 {
        log.decide(&unique("a", IfExists::Keep, 7_000, message), FRESH);
    }
    let mut copies = Copies::default();
    assert_eq!(
        log.registrar.returned(&commands, &mut copies),
        Some(0),
        "those were acknowledged long ago"
    );
}

#[test]
fn rule_r() {
    let mut log = Log::new();
    let (epoch, at) = (log.state.log(), |in_ms| UnixMs(NOW.0 + in_ms));
    let plain = |name: &str, in_ms| Keyed {
        key: key(name).hash(),
        generation: None,
        moved: 0,
        log: epoch,
        wake_at: at(in_ms),
    };
    let everything = Some(Vouched { sequence: u64::MAX, horizon: at(1_000) });
    let none = Wake::Wait(Wait::Fence);
    assert_eq!(wake(&plain("a", 500), &log.state, None), none);
    assert_eq!(wake(&plain("a", 1_001), &log.state, everything), none);
    assert_eq!(wake(&plain("a", 1_000), &log.state, everything), Wake::Release);
    let foreign = Keyed { log: 99, ..plain("a", 500) };
    assert_eq!(wake(&foreign, &log.state, everything), Wake::Wait(Wait::OtherLog));
    log.registrar.accept(99);
    log.append();
    assert_eq!(wake(&foreign, &log.state, everything), Wake::Release);
    let nothing = State::default();
    let blind = Wake::Wait(Wait::Blind(Blindness::NothingRead));
    assert_eq!(wake(&plain("a", 500), &nothing, everything), blind);

    log.decide(&reschedule("a", 900), FRESH);
    assert_eq!(wake(&plain("a", 500), &log.state, everything), Wake::SleepAgain(at(900)));
    assert_eq!(wake(&plain("a", 900), &log.state, everything), Wake::Release);
    log.decide(&cancel("a"), FRESH);
    assert_eq!(wake(&plain("a", 900), &log.state, None), Wake::Drop(Cause::Cancelled));

    // a unique schedule: the newest generation, under a fence that stands behind it
    log.decide(&unique("u", IfExists::Keep, 500, 1), FRESH);
    let generation = log.state.get(&key("u").hash()).unwrap().generation;
    let first = Keyed { generation: Some(generation), ..plain("u", 500) };
    let before = Some(Vouched { sequence: generation, horizon: at(1_000) });
    assert_eq!(wake(&first, &log.state, before), none);
    assert_eq!(wake(&first, &log.state, everything), Wake::Release);
    let unclaimed = Keyed { generation: Some(generation + 5), ..first };
    assert_eq!(wake(&unclaimed, &log.state, before), none, "its entry may follow");
    assert_eq!(wake(&unclaimed, &log.state, everything), Wake::Drop(Cause::Unclaimed));
    log.decide(&unique("u", IfExists::Replace, 600, 2), FRESH);
    assert_eq!(wake(&first, &log.state, None), Wake::Drop(Cause::Replaced));
    // a plain schedule is stopped by a cancel of its key, even if a unique one followed, and by nothing else
    assert_eq!(wake(&plain("u", 500), &log.state, everything), Wake::Release);
    log.decide(&cancel("u"), FRESH);
    log.decide(&unique("u", IfExists::Replace, 600, 3), FRESH);
    assert_eq!(wake(&plain("u", 500), &log.state, everything), Wake::Drop(Cause::Cancelled));
}

#[test]
fn a_fence_vouches_for_what_was_nearly_due() {
    let clocks = |wall_ms, monotonic_ms| Clocks {
        wall: UnixMs(NOW.0 + wall_ms),
        monotonic: Duration::from_millis(monotonic_ms),
    };
    let mut fences = Fences::new(5);
    let fence = fences.publish(clocks(0, 0));
    assert_eq!(fence.horizon, NOW.plus(LOOKAHEAD));
    assert!(!fences.wants(clocks(249, 249)) && fences.wants(clocks(250, 250)));
    assert_eq!(fences.vouched(clocks(10, 10)), None, "not read back");
    fences.read_back(70, &Fence { worker: 6, ..fence });
    assert_eq!(fences.vouched(clocks(10, 10)), None, "another worker's");
    fences.read_back(77, &fence);
    let vouched = Some(Vouched { sequence: 77, horizon: fence.horizon });
    assert_eq!(fences.vouched(clocks(60_000, 60_000)), vouched, "as good however long it took");
    assert_eq!(fences.vouched(clocks(60_000 - 250, 60_000)), vouched);
    for step in [-1_i64, 1] {
        let mut stepped = fences.clone();
        let wall = 60_000_u64.saturating_add_signed(step * (STEP.as_millis() as i64 + 1));
        assert_eq!(stepped.vouched(clocks(wall, 60_000)), None);
        assert_eq!(stepped.vouched(clocks(60_000, 60_000)), None, "once void, always void");
    }
    fences.forget();
    assert_eq!(fences.vouched(clocks(60_000, 60_000)), None);
}
