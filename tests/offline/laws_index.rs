//! Laws of the index: what it says follows from the ledger alone, however that comes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dormouse::index::store::{Incoming, Store};
use dormouse::index::{Filter, Gap, GapKind, Index, Noted, Row, State, Step};
use dormouse::schedule::UnixMs;
use dormouse_core::ledger::{Asleep, Batch, Event, Line};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::worlds_index::{World, ops};

/// The index in a folder that goes with the test.
pub fn file(scratch: &TempDir) -> PathBuf {
    scratch.path().join("index.sqlite")
}

/// Beyond all times of these tests.
pub const NOW: UnixMs = UnixMs(10_000_000);

pub fn incoming(offset: usize, batch: &Batch) -> Incoming {
    Incoming { offset: offset as i64, is_ours: true, body: batch.encode().into() }
}

/// All that an index says.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub messages: Vec<Row>,
    pub histories: Vec<Vec<Noted>>,
    pub minutes: BTreeMap<u64, u64>,
    pub hours: BTreeMap<u64, u64>,
    pub gaps: Vec<Gap>,
}

pub fn told(scratch: &TempDir) -> Told {
    let index = Index::open(&file(scratch)).unwrap();
    let mut messages = Vec::new();
    let mut cursor = None;
    loop {
        let page = index.list(&Filter::default(), 7, cursor.as_deref(), NOW).unwrap().value;
        messages.extend(page.messages);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let by_time: Vec<_> = messages.iter().map(|row| row.wake).collect();
    assert!(by_time.is_sorted(), "{by_time:?}");
    messages.sort_by(|a, b| a.id.cmp(&b.id));
    let histories = messages.iter().map(|row| index.history(&row.id, NOW).unwrap().value);
    let histories = histories.collect();
    let load = |step: Step| {
        let all = (UnixMs(0), UnixMs(60_000 * 10_000));
        let load = index.load(step, all, None, NOW).unwrap().value;
        assert_eq!(load.messages, load.targets.iter().map(|of| of.messages).sum::<u64>());
        load.steps.iter().map(|bucket| (bucket.from.0, bucket.messages)).collect()
    };
    let gaps = index.standing(NOW).unwrap().value.ledger.gaps;
    Told { messages, histories, minutes: load(Step::Minute), hours: load(Step::Hour), gaps }
}

/// Applies batches, `sizes` of them in a transaction, and opens the file anew where a size is 0.
fn applied(batches: &[Batch], sizes: &[usize]) -> Told {
    let scratch = TempDir::new().unwrap();
    let mut store = Store::open(&file(&scratch)).unwrap();
    let incoming: Vec<_> = (0..).zip(batches).map(|(at, batch)| incoming(at * 3, batch)).collect();
    let mut rest = &incoming[..];
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = *sizes.next().unwrap_or(&usize::MAX);
        if size == 0 {
            drop(store);
            store = Store::open(&file(&scratch)).unwrap();
        }
        let (now, later) = rest.split_at(size.clamp(1, rest.len()));
        store.apply(now, NOW).unwrap();
        rest = later;
    }
    drop(store);
    told(&scratch)
}

fn ids() -> impl Strategy<Value = String> {
    (0..6_u8).prop_map(|id| match id {
        // of a worker, and of somebody else
        0..3 => format!("01890000-0000-7000-8000-00000000000{id}"),
        _ => format!("m-{id}"),
    })
}

fn times() -> impl Strategy<Value = UnixMs> {
    prop_oneof![1..400_000_u64, Just(5_000_000)].prop_map(UnixMs)
}

fn asleep() -> impl Strategy<Value = Asleep> {
    let keyed = (prop::option::of(0..3_u8), prop::option::of(1..5_u64));
    (ids(), keyed, 0..3_u8, times(), prop::option::of(times()), 0..3_u32).prop_map(
        |(id, (key, generation), target, due, retry_at, attempt)| Asleep {
            // some have the same
            message_id: key.filter(|key| *key > 0).map(|key| format!("by its publisher {key}")),
            id,
            generation: generation.filter(|_| key.is_some()),
            key: key.map(|key| format!("k{key}")),
            exchange: if target == 0 { "x".into() } else { String::new() },
            routing_key: format!("q{target}"),
            due,
            retry_at,
            attempt,
            hops: 1,
            bytes: 10,
            // one in three goes back to its consumer's queue
            retries: u32::from(target == 2),
            reason: (target == 2).then(|| "rejected".into()),
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    let key = || (0..3_u8).prop_map(|key| format!("k{key}"));
    let text = || "[a-z]{1,4}";
    prop_oneof![
        4 => asleep().prop_map(Event::Scheduled),
        1 => asleep().prop_map(Event::Seen),
        2 => (ids(), 1..4_u32, text(), text(), times()).prop_map(|(id, attempt, reason, detail, wake)| {
            Event::Failed { id, attempt, reason, detail, wake }
        }),
        1 => (ids(), times()).prop_map(|(id, wake)| Event::Rescheduled { id, wake }),
        2 => (ids(), times(), 1..4_u32)
            .prop_map(|(id, wake, attempt)| Event::Delivered { id, wake, attempt }),
        1 => (ids(), text(), text()).prop_map(|(id, reason, detail)| Event::Dead { id, reason, detail }),
        1 => (ids(), text()).prop_map(|(id, cause)| Event::Dropped { id, cause }),
        1 => key().prop_map(|key| Event::KeyCancelled { key }),
        1 => (key(), times()).prop_map(|(key, due)| Event::KeyRescheduled { key, due }),
        1 => Just(Event::CensusBegun),
        1 => prop::option::of(times())
            .prop_map(|woken| Event::CensusEnded { since: UnixMs(0), woken }),
    ]
}

/// Batches of two writers, without a hole. A census that ends is the one that began last, if any did.
fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let lines = prop::collection::vec((1..1_000_u64, events()), 0..5);
    prop::collection::vec((0..2_usize, lines), 1..14).prop_map(|batches| {
        let (mut numbers, mut begun, mut at) = ([0, 0], UnixMs(0), 0);
        let batch = |(writer, lines): (usize, Vec<(u64, Event)>)| {
            numbers[writer] += 1;
            let lines = lines.into_iter().map(|(more, mut event)| {
                at += more;
                match &mut event {
                    Event::CensusBegun => begun = UnixMs(at),
                    Event::CensusEnded { since, .. } => *since = begun,
                    _ => {}
                }
                Line { at: UnixMs(at), event }
            });
            let lines = lines.collect();
            let writer_name = format!("w{writer}");
            Batch { writer: writer_name, batch: numbers[writer], at: UnixMs(at), lines }
        };
        batches.into_iter().map(batch).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Where transactions and restarts lie does not matter, so an index made anew says the same.
    #[test]
    fn it_does_not_matter_how_the_ledger_is_cut(
        batches in batches(),
        sizes in prop::collection::vec(0..4_usize, 1..6),
    ) {
        prop_assert_eq!(applied(&batches, &sizes), applied(&batches, &[usize::MAX]));
    }

    /// A writer that lost its connection publishes again what was not confirmed, in its order.
    #[test]
    fn what_is_published_again_changes_nothing(
        batches in batches(),
        again in prop::collection::vec((0..14_usize, 1..4_usize), 1..4),
    ) {
        let mut twice = batches.clone();
        for (at, back) in again {
            let at = at.min(twice.len());
            let repeated = twice[at.saturating_sub(back)..at].to_vec();
            twice.splice(at..at, repeated);
        }
        prop_assert_eq!(applied(&twice, &[2]), applied(&batches, &[2]));
    }

    /// The load is counted beside the messages, and is always what counting them gives.
    #[test]
    fn the_load_is_what_is_to_come(batches in batches()) {
        let told = applied(&batches, &[1]);
        let by = |length: u64| {
            let mut load = BTreeMap::new();
            for row in told.messages.iter().filter(|row| row.state.is_to_come()) {
                *load.entry(row.wake.0 / length * length).or_insert(0) += 1;
            }
            load
        };
        prop_assert_eq!(&told.minutes, &by(60_000));
        prop_assert_eq!(&told.hours, &by(3_600_000));
    }

    /// Messages live as a worker makes them, and the ledger tells it with what may come late: the index says what is so.
    #[test]
    fn what_it_says_is_so(ops in ops(), late in any::<u64>()) {
        let mut world = World::new(late);
        ops.iter().for_each(|op| world.go(op));
        let told = applied(&world.batches(), &[3]);
        let says: BTreeMap<_, _> = told
            .messages
            .iter()
            .map(|row| (row.id.clone(), (row.state, row.wake, row.due.is_some())))
            .collect();
        prop_assert_eq!(says, world.truth(), "{:#?}", world.batches());
    }
}

fn batch(writer: &str, number: u64, at: u64, events: Vec<Event>) -> Batch {
    let lines = events.into_iter().map(|event| Line { at: UnixMs(at), event }).collect();
    Batch { writer: writer.into(), batch: number, at: UnixMs(at), lines }
}

fn sleeps(id: &str, due: u64) -> Asleep {
    let (id, due) = (id.to_owned(), UnixMs(due));
    Asleep { id, due, routing_key: "q".into(), attempt: 1, ..Asleep::default() }
}

fn kinds(told: &Told) -> Vec<GapKind> {
    told.gaps.iter().map(|gap| gap.kind).collect()
}

#[test]
fn a_missing_batch_a_silent_writer_and_what_was_given_up_are_gaps() {
    let told = applied(&[batch("a", 1, 5, vec![]), batch("a", 3, 25, vec![])], &[1]);
    assert_eq!(kinds(&told), [GapKind::Before, GapKind::Batches]);
    let gap = &told.gaps[1];
    assert_eq!((gap.since, gap.until, gap.missing), (Some(UnixMs(5)), Some(UnixMs(25)), Some(1)));

    let given_up = Event::Gap { events: 7, since: UnixMs(1) };
    let told = applied(&[batch("a", 1, 5, vec![given_up])], &[1]);
    assert_eq!(kinds(&told), [GapKind::Before, GapKind::GivenUp]);

    // by the clocks of those who write: that of `b` is far ahead
    let far = 1_000_000;
    let mut all = vec![batch("a", 1, 5, vec![]), batch("b", 1, far, vec![])];
    all.push(batch("b", 2, far + 30_000, vec![]));
    assert_eq!(kinds(&applied(&all, &[1])), [GapKind::Before]);
    all.push(batch("b", 3, far + 30_001, vec![]));
    let told = applied(&all, &[1]);
    assert_eq!(kinds(&told), [GapKind::Before, GapKind::Silent]);
    assert_eq!(told.gaps[1].since, Some(UnixMs(5)));
    // it was slow, and nothing is missing
    all.push(batch("a", 2, 31_000, vec![]));
    assert_eq!(kinds(&applied(&all, &[1])), [GapKind::Before]);
    // who has ended in order is not missed
    all[0] = batch("a", 1, 5, vec![Event::Ended]);
    all.pop();
    assert_eq!(kinds(&applied(&all, &[1])), [GapKind::Before]);
}

#[test]
fn a_census_makes_good_what_is_missing_and_misses_what_is_gone() {
    let hour = 3_600_000;
    let scheduled = |id: &str| Event::Scheduled(sleeps(id, hour));
    let begun = batch("c", 1, 100, vec![Event::CensusBegun]);
    let seen = Event::Seen(sleeps("there", hour));
    let ended = |woken| Event::CensusEnded { since: UnixMs(100), woken };
    let soon = Event::Scheduled(sleeps("soon", 200_000));
    let all = [
        batch("a", 1, 50, vec![scheduled("there"), scheduled("lost"), soon]),
        begun.clone(),
        batch("a", 2, 150, vec![scheduled("new")]),
        batch("c", 2, 160, vec![seen, Event::Seen(sleeps("unheard-of", hour)), ended(None)]),
    ];
    let told = applied(&all, &[2]);
    let states: Vec<_> = told.messages.iter().map(|row| (row.id.as_str(), row.state)).collect();
    let (sleeps_on, gone) = (State::Scheduled, State::Gone);
    assert_eq!(
        states,
        [
            ("lost", gone),
            ("new", sleeps_on),
            ("soon", gone),
            ("there", sleeps_on),
            ("unheard-of", sleeps_on)
        ]
    );
    assert_eq!(told.gaps, []);

    // what is missing may be what it said
    let mut holed = all.to_vec();
    holed.insert(3, batch("a", 4, 155, vec![]));
    let told = applied(&holed, &[2]);
    assert_eq!(kinds(&told), [GapKind::Before, GapKind::Batches]);
    assert!(told.messages.iter().all(|row| row.state == sleeps_on), "{told:#?}");
    // nor does one count whose beginning was not seen
    let told = applied(&[all[0].clone(), batch("c", 2, 160, vec![ended(None)])], &[1]);
    assert!(told.messages.iter().all(|row| row.state == sleeps_on), "{told:#?}");
    assert_eq!(kinds(&told), [GapKind::Before, GapKind::Batches]);
    // what wakes within minutes of its end may be in a worker's hands; long after it was due it is not
    let just_now = Event::Scheduled(sleeps("just-now", 1_000));
    let all = [
        batch("a", 1, 50, vec![just_now]),
        begun,
        batch("c", 2, 5_000, vec![ended(None)]),
        batch("c", 3, 6_000, vec![Event::CensusBegun]),
        batch(
            "c",
            4,
            7_000,
            vec![Event::CensusEnded { since: UnixMs(6_000), woken: Some(UnixMs(2_000)) }],
        ),
    ];
    assert_eq!(applied(&all[..3], &[1]).messages[0].state, sleeps_on);
    assert_eq!(applied(&all, &[1]).messages[0].state, gone);
}
