//! Laws of the ledger's buffer: what is offered is noted once and in its order, or given up and told.

use std::time::{Duration, Instant};

use dormouse::schedule::UnixMs;
use dormouse::worker::{LedgerBuffer, LedgerCounts};
use dormouse_core::ledger::{Batch, Event, Line};
use proptest::prelude::*;

/// What befalls a buffer.
#[derive(Debug, Clone)]
enum Step {
    /// So many events; somebody waits for those of which this is true.
    Offer(Vec<bool>),
    /// A batch is taken if one is due, and published.
    Take,
    /// It is published again, as after a lost connection, and stands in the stream twice or not at all.
    Again,
    Confirm,
    /// RabbitMQ refuses it for good.
    Refuse,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop::collection::vec(any::<bool>(), 1..40).prop_map(Step::Offer),
        3 => Just(Step::Take),
        1 => Just(Step::Again),
        3 => Just(Step::Confirm),
        1 => Just(Step::Refuse),
        2 => (0..15_000_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..120)
}

/// A buffer, its stream, and what was offered.
struct World {
    buffer: LedgerBuffer,
    now: Instant,
    published: Vec<Batch>,
    offered: u64,
}

impl World {
    fn new(most: usize) -> Self {
        let buffer = LedgerBuffer::bounded("w".into(), most);
        Self { buffer, now: Instant::now(), published: Vec::new(), offered: 0 }
    }

    fn offer(&mut self, urgent: bool) -> bool {
        self.offered += 1;
        let event = Event::Dropped { id: self.offered.to_string(), cause: "c".into() };
        self.buffer.offer(Line { at: UnixMs(self.offered), event }, urgent, self.now)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Offer(all) => all.into_iter().for_each(|urgent| {
                self.offer(urgent);
            }),
            Step::Take => {
                let taken = self.buffer.take(self.now, UnixMs(0));
                self.published.extend(taken.map(|batch| (*batch).clone()));
            }
            Step::Again => {
                let again = self.buffer.under_way();
                self.published.extend(again.map(|batch| (*batch).clone()));
            }
            Step::Confirm => {
                self.buffer.confirmed();
            }
            Step::Refuse => {
                if self.buffer.under_way().is_some() {
                    // it never came to stand in the stream
                    let number = self.buffer.under_way().unwrap().batch;
                    self.published.retain(|batch| batch.batch != number);
                    self.buffer.give_up();
                    self.published.push((*self.buffer.under_way().unwrap()).clone());
                }
            }
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
        }
    }

    /// Everything is confirmed from now on, until the end.
    fn finish(&mut self) {
        self.buffer.end();
        for _ in 0..100_000 {
            if self.buffer.is_done() {
                return;
            }
            self.step(Step::Take);
            self.step(Step::Confirm);
        }
        panic!("no end: {:?}", self.buffer);
    }
}

/// As an index reads it: each number once, none missing.
fn read(published: &[Batch]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut last = 0;
    for batch in published {
        if batch.batch > last {
            assert_eq!(batch.batch, last + 1, "a number is missing");
            last = batch.batch;
            lines.extend(batch.lines.clone());
        }
    }
    lines
}

proptest! {
    #[test]
    fn all_that_is_offered_is_noted_in_order_or_told_as_given_up(steps in steps(), most in 2..200_usize) {
        let mut world = World::new(most);
        for step in steps {
            world.step(step);
            prop_assert!(world.buffer.len() <= most + 1_001, "bounded, but for a batch and a gap");
            let LedgerCounts { noted, given_up } = world.buffer.counts();
            prop_assert!(noted + given_up <= world.offered);
            prop_assert!(world.buffer.progress().settled <= world.offered);
        }
        world.finish();
        let lines = read(&world.published);
        // in order, with each gap where what it stands for would be
        let (mut expected, mut noted, mut given_up) = (1, 0, 0);
        for line in &lines[..lines.len() - 1] {
            match &line.event {
                Event::Dropped { id, .. } => {
                    prop_assert_eq!(id.parse::<u64>().unwrap(), expected);
                    (expected, noted) = (expected + 1, noted + 1);
                }
                Event::Gap { events, since } => {
                    prop_assert_eq!(since.0, expected, "when the first of them happened");
                    (expected, given_up) = (expected + events, given_up + events);
                }
                other => panic!("{other:?}"),
            }
        }
        prop_assert_eq!(&lines.last().unwrap().event, &Event::Ended);
        prop_assert_eq!(noted + given_up, world.offered);
        prop_assert_eq!(world.buffer.counts(), LedgerCounts { noted, given_up });
        prop_assert_eq!(world.buffer.progress().settled, world.offered);
        prop_assert!(world.buffer.is_empty());
    }

    /// Who looks when it is told to look misses no batch.
    #[test]
    fn a_batch_is_taken_when_it_is_said_to_be_due(steps in steps()) {
        let mut world = World::new(100_000);
        world.step(Step::Take);
        world.step(Step::Confirm);
        for step in steps {
            let before = world.buffer.due_at(world.now);
            let sooner = match &step {
                Step::Offer(all) => {
                    let any = all.iter().map(|urgent| world.offer(*urgent)).collect::<Vec<_>>();
                    any.into_iter().any(|sooner| sooner)
                }
                step => {
                    world.step(step.clone());
                    true
                }
            };
            let after = world.buffer.due_at(world.now);
            prop_assert!(sooner || before.is_none() || before <= after, "{before:?} {after:?}");
            if let Some(due) = world.buffer.due_at(world.now) {
                world.now = world.now.max(due);
                prop_assert!(world.buffer.take(world.now, UnixMs(0)).is_some());
                prop_assert!(world.buffer.due_at(world.now).is_none(), "one at a time");
                world.buffer.confirmed();
            }
        }
    }
}

/// When it is due, after `offer`, in ms.
fn due_in(offer: impl FnOnce(&mut World)) -> u128 {
    let mut world = World::new(100_000);
    world.step(Step::Take);
    world.step(Step::Confirm);
    offer(&mut world);
    (world.buffer.due_at(world.now).unwrap() - world.now).as_millis()
}

#[test]
fn who_waits_waits_for_little_company_and_nobody_for_more() {
    assert_eq!(due_in(|_| {}), 10_000, "a writer says that it is there");
    assert_eq!(
        due_in(|world| {
            world.offer(false);
        }),
        100
    );
    assert_eq!(
        due_in(|world| {
            world.offer(true);
        }),
        10
    );
    let many = |urgent, count| {
        move |world: &mut World| {
            (0..count).for_each(|_| {
                world.offer(urgent);
            })
        }
    };
    assert_eq!(due_in(many(true, 64)), 0);
    assert_eq!(due_in(many(false, 999)), 100);
    assert_eq!(due_in(many(false, 1_000)), 0);
    assert_eq!(due_in(|world| world.buffer.end()), 0);
}

/// It stalls two seconds after the oldest event that the stream does not have, whether others pass or not, and is
/// healed when the oldest is younger than one.
#[test]
fn a_stream_that_takes_nothing_stalls_and_heals() {
    let mut world = World::new(100_000);
    world.step(Step::Take);
    world.step(Step::Confirm);
    world.step(Step::Pass(60_000));
    assert!(!world.buffer.look(world.now), "nothing waits, so nothing stalls");
    world.offer(true);
    world.step(Step::Pass(2_000));
    assert!(!world.buffer.look(world.now));
    world.step(Step::Take);
    world.step(Step::Pass(1));
    assert!(
        world.buffer.look(world.now) && world.buffer.progress().stalled,
        "under way for too long"
    );
    assert!(!world.buffer.look(world.now), "told once");
    world.step(Step::Pass(500));
    world.offer(true);
    world.step(Step::Pass(1_500));
    world.step(Step::Confirm);
    assert!(!world.buffer.look(world.now), "the next one is too old as well");
    world.step(Step::Take);
    world.step(Step::Confirm);
    assert!(world.buffer.look(world.now) && !world.buffer.progress().stalled);
    assert_eq!(world.buffer.progress().settled, 2);
}

/// A flood does not make a gap for every other event.
#[test]
fn what_does_not_fit_becomes_one_gap() {
    let mut world = World::new(100);
    (0..350).for_each(|_| {
        world.offer(true);
    });
    assert_eq!(world.buffer.counts(), LedgerCounts { noted: 0, given_up: 250 });
    world.step(Step::Take);
    world.offer(true);
    world.step(Step::Confirm);
    world.step(Step::Pass(10_000));
    world.finish();
    let lines = read(&world.published);
    let is_gap = |line: &&Line| matches!(line.event, Event::Gap { .. });
    assert_eq!(lines.iter().filter(is_gap).count(), 1);
    assert_eq!(world.buffer.counts(), LedgerCounts { noted: 101, given_up: 250 });
}
