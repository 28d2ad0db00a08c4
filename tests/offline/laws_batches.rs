//! Laws of a consumer's batches: who is next, and when a batch is full or late.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dormouse_client::KeyedBatchQueue;
use proptest::collection::vec;
use proptest::prelude::*;

/// A step of a consumer: a delivery with a key comes, a batch is asked for, or one is done.
#[derive(Debug, Clone)]
enum Step {
    Comes(Option<u8>),
    Next,
    Done(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => proptest::option::weighted(0.8, 0..4u8).prop_map(Step::Comes),
        3 => Just(Step::Next),
        2 => any::<usize>().prop_map(Step::Done),
    ];
    vec(step, 0..120)
}

proptest! {
    /// Whatever comes and goes: one of a key at a time, in order; nothing waits without a reason, and
    /// everything goes out exactly once.
    #[test]
    fn one_of_each_key_at_a_time_and_in_order(steps in steps(), size in 1..5usize) {
        let now = Instant::now();
        let mut line = KeyedBatchQueue::new(size, Duration::ZERO);
        let (mut came, mut out) = (0usize, Vec::<usize>::new());
        let mut under_way: Vec<(Option<String>, usize)> = Vec::new();
        let mut last = HashMap::<String, usize>::new();
        let drain = std::iter::repeat_n([Step::Next, Step::Done(0)], 300).flatten();
        for step in steps.into_iter().chain(drain) {
            match step {
                Step::Comes(key) => {
                    line.push(key.map(|key| key.to_string()), came, now);
                    came += 1;
                }
                Step::Next => {
                    let batch = line.next(now, false).unwrap_or_default();
                    prop_assert!(batch.len() <= size);
                    let others = under_way.len();
                    for (key, item) in batch {
                        if let Some(key) = &key {
                            let before = &under_way[..others];
                            prop_assert!(before.iter().all(|(other, _)| other.as_ref() != Some(key)), "in another batch");
                            if let Some(before) = last.insert(key.clone(), item) {
                                prop_assert!(before < item, "in the order in which they came");
                            }
                        }
                        out.push(item);
                        under_way.push((key, item));
                    }
                }
                Step::Done(which) if !under_way.is_empty() => {
                    let (key, _) = under_way.remove(which % under_way.len());
                    if let Some(key) = key {
                        line.done(&key);
                    }
                }
                Step::Done(_) => {}
            }
            prop_assert_eq!(line.len(), came - out.len());
        }
        out.sort_unstable();
        prop_assert_eq!(out, (0..came).collect::<Vec<_>>(), "each exactly once");
        prop_assert!(line.is_empty());
    }

    /// Messages of one key fill a batch, in order, and the next batch waits until each of them is done.
    #[test]
    fn one_key_fills_its_batches(count in 1..60usize, size in 1..9usize) {
        let now = Instant::now();
        let mut line = KeyedBatchQueue::new(size, Duration::from_secs(3_600));
        (0..count).for_each(|item| line.push(Some("key".into()), item, now));
        let mut out = Vec::new();
        while let Some(batch) = line.next(now, true) {
            prop_assert_eq!(batch.len(), size.min(count - out.len()));
            for place in 0..batch.len() {
                prop_assert!(line.next(now, true).is_none(), "{} of {} done", place, batch.len());
                line.done("key");
            }
            prop_assert_eq!(line.is_ready(now, false), count - out.len() - batch.len() >= size);
            out.extend(batch.into_iter().map(|(_, item)| item));
        }
        prop_assert_eq!(out, (0..count).collect::<Vec<_>>());
    }

    /// No wait that a caller may choose panics.
    #[test]
    fn a_batch_may_wait_for_ever(size in 2..8usize) {
        let now = Instant::now();
        let mut line = KeyedBatchQueue::new(size, Duration::MAX);
        line.push(None, 1, now);
        prop_assert!(!line.is_ready(now, false) && line.due().is_some_and(|due| due > now));
        prop_assert!(line.next(now, true).is_some());
    }

    /// A batch goes out when it is full or its oldest has waited, and not before.
    #[test]
    fn a_batch_is_full_or_in_time(arrivals_ms in vec(0..500u64, 1..40), size in 1..8usize, wait_ms in 1..300u64) {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let wait = Duration::from_millis(wait_ms);
        let mut line = KeyedBatchQueue::new(size, wait);
        let mut arrivals = arrivals_ms;
        arrivals.sort_unstable();
        let mut left = arrivals.len();
        for ms in 0..=1_000u64 {
            for came in arrivals.iter().filter(|came| **came == ms) {
                line.push(None, *came, at(ms));
            }
            while let Some(batch) = line.next(at(ms), false) {
                let oldest = batch[0].1;
                prop_assert!(batch.len() == size || oldest + wait_ms <= ms, "neither full nor in time");
                prop_assert!(oldest + wait_ms >= ms, "late");
                left -= batch.len();
            }
            prop_assert!(line.due().is_none_or(|due| due > at(ms)));
        }
        prop_assert_eq!(left, 0);
    }

    #[test]
    fn a_flush_leaves_nothing_behind(keys in vec(proptest::option::of(0..3u8), 0..40), size in 1..8usize) {
        let now = Instant::now();
        let mut line = KeyedBatchQueue::new(size, Duration::from_secs(3_600));
        for (item, key) in keys.iter().enumerate() {
            line.push(key.map(|key| key.to_string()), item, now);
        }
        let mut out = 0;
        while let Some(batch) = line.next(now, true) {
            out += batch.len();
            batch.iter().filter_map(|(key, _)| key.as_ref()).for_each(|key| line.done(key));
        }
        prop_assert_eq!(out, keys.len());
    }
}
