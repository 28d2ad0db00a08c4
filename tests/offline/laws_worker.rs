//! Laws of the worker's pure parts: which publishes are settled, acks, the hold, prefetch, channels.

use std::collections::{BTreeSet, HashMap, VecDeque};

use dormouse::amqp::Acks;
use dormouse::amqp::confirm_tracker::{Closed, Confirm, ConfirmTracker, Outcome, Return};
use dormouse::amqp::prefetch::Prefetch;
use dormouse::schedule::UnixMs;
use dormouse::worker::{Channels, Hold};
use proptest::prelude::*;

/// The broker and lapin, as read in their sources: a return is sent before its publish's confirm, in
/// the order of publishes; confirms come one by one or for all up to a tag; lapin hands the oldest
/// waiting return to whichever confirm it handles next, in the order of a hash map.
struct Client {
    unroutable: BTreeSet<u64>,
    waiting: VecDeque<u64>,
    unsent_returns: VecDeque<u64>,
    outstanding: BTreeSet<u64>,
}

impl Client {
    fn new(count: u64, unroutable: BTreeSet<u64>) -> Self {
        let outstanding = (1..=count).collect();
        Self {
            unsent_returns: unroutable.iter().copied().collect(),
            unroutable,
            waiting: VecDeque::new(),
            outstanding,
        }
    }

    /// The broker sends returns of all publishes up to `to`.
    fn send_returns(&mut self, to: u64) {
        while self.unsent_returns.front().is_some_and(|sequence| *sequence <= to) {
            self.waiting.extend(self.unsent_returns.pop_front());
        }
    }

    /// The broker confirms these; lapin handles them in the given order.
    fn confirm(&mut self, sequences: &[u64]) -> Vec<(u64, Confirm)> {
        if let Some(last) = sequences.iter().max() {
            self.send_returns(*last);
        }
        let handled = sequences.iter().filter(|sequence| self.outstanding.remove(sequence));
        let handled: Vec<u64> = handled.copied().collect();
        let attach = |waiting: &mut VecDeque<u64>| {
            waiting.pop_front().map(|sequence| Return {
                sequence: Some(sequence),
                code: 312,
                text: "NO_ROUTE".into(),
            })
        };
        handled
            .into_iter()
            .map(|sequence| (sequence, Confirm::Ack(attach(&mut self.waiting))))
            .collect()
    }
}

proptest! {
    #[test]
    fn every_publish_is_settled_once_and_rightly(
        count in 1u64..120,
        unroutable in proptest::collection::btree_set(1u64..120, 0..60),
        steps in proptest::collection::vec((any::<bool>(), 0u64..120, 0u64..120, any::<u64>(), any::<bool>()), 0..200),
    ) {
        let unroutable: BTreeSet<u64> = unroutable.into_iter().filter(|sequence| *sequence <= count).collect();
        let mut client = Client::new(count, unroutable);
        let mut window = ConfirmTracker::default();
        (1..=count).for_each(|sequence| window.published(sequence));
        let mut settled = HashMap::new();
        let mut drain = Vec::new();
        let last = (false, 0, count, 0, true);
        for (single, one, up_to, shuffle, drained) in steps.into_iter().chain([last]) {
            client.send_returns(one);
            let mut handled: Vec<u64> = if single {
                vec![one]
            } else {
                client.outstanding.iter().copied().filter(|sequence| *sequence <= up_to).collect()
            };
            // a hash map's order: anything
            handled.sort_by_key(|sequence| sequence.wrapping_mul(shuffle | 1).rotate_left(17));
            drain.extend(client.confirm(&handled));
            if drained {
                // one drain sees its confirms in any order
                drain.sort_by_key(|(sequence, _)| sequence.wrapping_mul(shuffle | 3).rotate_left(29));
                for (sequence, outcome) in window.resolved(std::mem::take(&mut drain)) {
                    prop_assert!(settled.insert(sequence, outcome).is_none(), "settled once");
                }
            }
        }
        prop_assert_eq!(settled.len() as u64, count, "all of them once nothing is outstanding");
        prop_assert!(window.is_empty());
        for (sequence, outcome) in settled {
            let returned = matches!(outcome, Outcome::Returned { code: 312, .. });
            prop_assert_eq!(returned, client.unroutable.contains(&sequence), "publish {}", sequence);
        }
    }

    #[test]
    fn each_settled_delivery_is_acked_once_and_no_other(
        order in Just((1u64..=60).collect::<Vec<_>>()).prop_shuffle(),
        takes in proptest::collection::vec(any::<bool>(), 60),
        settled in 0usize..=60,
    ) {
        let mut acks = Acks::default();
        let mut unacked: BTreeSet<u64> = (1..=60).collect();
        let mut done = BTreeSet::new();
        for (tag, take) in order.into_iter().take(settled).zip(takes.into_iter().chain([true])) {
            acks.settle(tag);
            done.insert(tag);
            if !take { continue }
            for ack in acks.take() {
                // RabbitMQ answers 406 to a tag that is not unacked
                prop_assert!(unacked.contains(&ack.tag), "tag {} is acked already", ack.tag);
                let covered: Vec<u64> = if ack.multiple { unacked.range(..=ack.tag).copied().collect() } else { vec![ack.tag] };
                for tag in covered {
                    prop_assert!(done.contains(&tag), "{} was not settled", tag);
                    unacked.remove(&tag);
                }
            }
            prop_assert!(done.iter().all(|tag| !unacked.contains(tag)), "all settled ones are acked");
        }
    }

    #[test]
    fn the_hold_releases_in_order_and_never_early(dues in proptest::collection::vec(0u64..1_000, 0..100), now in 0u64..1_000) {
        let mut hold = Hold::default();
        for (number, due) in dues.iter().enumerate() {
            hold.insert(UnixMs(*due), (*due, number));
        }
        let mut released = Vec::new();
        while let Some(item) = hold.pop_due(UnixMs(now)) {
            released.push(item);
        }
        let mut expected: Vec<_> = dues.iter().copied().enumerate().filter(|(_, due)| *due <= now).map(|(number, due)| (due, number)).collect();
        expected.sort_unstable();
        prop_assert_eq!(released, expected, "soonest first, in order of arrival among equals");
        prop_assert!(hold.next_due().is_none_or(|due| due.0 > now));
        if let Some(last) = hold.pop_last(UnixMs(now)) {
            prop_assert_eq!(Some(last.0), dues.iter().copied().max());
        }
        prop_assert_eq!(hold.pop_last(UnixMs(1_000)), None, "nothing that is due before comes back too late");
    }
}

proptest! {
    /// RabbitMQ sends as much as the prefetch allows. What is unacknowledged is bounded by messages,
    /// and by bytes but for what the first prefetch lets in before a weight is known.
    #[test]
    fn prefetch_follows_the_weight_of_the_messages(max in 1u16..5_000, body in 1u64..200_000) {
        const MAX_BYTES: u64 = 16 << 20;
        let mut prefetch = Prefetch::new(MAX_BYTES);
        prefetch.raise_limit(max);
        let mut unacked = 0u64;
        for _ in 0..40 {
            // a new consumer counts from zero, so what an older one left comes on top
            for _ in 0..prefetch.now() {
                prefetch.delivered(body);
                unacked += 1;
            }
            prop_assert!(unacked <= 2 * u64::from(max).max(u64::from(prefetch.now())));
            prop_assert!(unacked * body <= (2 * MAX_BYTES).max(2 * 256 * body), "{} bytes", unacked * body);
            prefetch.adapt();
            // what is held leaves before the next round
            (0..unacked).for_each(|_| prefetch.settled(body));
            unacked = 0;
        }
        prop_assert!(prefetch.now() >= 1 && prefetch.now() <= max);
        if u64::from(max) * body * 2 <= MAX_BYTES {
            prop_assert_eq!(prefetch.now(), max, "light messages get all of it");
        }
    }
}

#[test]
fn a_closed_channel_leaves_every_outcome_unknown() {
    let mut window = ConfirmTracker::default();
    window.published(1);
    let closed = Closed { code: 404, text: "NOT_FOUND".into() };
    assert_eq!(
        window.resolved(vec![(1, Confirm::Failed(closed.clone()))]),
        [(1, Outcome::Unknown(closed))]
    );
    assert!(window.is_empty());
}

proptest! {
    /// A session's parts fit what each connection agreed on and what the user may have open in all, each
    /// with at least one channel to hold on and one to try exchanges on; only too few are refused.
    #[test]
    fn channels_stay_within_what_is_allowed(
        agreed in (0usize..200, 0usize..200),
        in_all in proptest::option::of(0usize..200),
    ) {
        let Some(channels) = Channels::within(agreed, in_all) else {
            prop_assert!(agreed.0 < 8 || agreed.1 < 8);
            return Ok(());
        };
        prop_assert!(channels.consuming <= agreed.0 && channels.publishing <= agreed.1);
        prop_assert!(channels.consuming + channels.publishing <= in_all.unwrap_or(400).max(16));
        prop_assert!(channels.spread >= 1 && channels.spread + 7 <= channels.consuming);
        prop_assert!((1..=4).contains(&channels.probes) && channels.probes + 7 <= channels.publishing);
        // one of those is among the seven
        prop_assert!((1..=4).contains(&channels.retired));
        prop_assert!(channels.probes + channels.retired + 6 <= channels.publishing);
    }

    /// Refused again and again at a limit that others have a part in, a worker asks for fewer each time.
    #[test]
    fn each_refusal_asks_for_fewer_channels(limit in 0usize..3_000) {
        let mut allowed = None;
        for _ in 0..40 {
            let fewer = Channels::after(limit, allowed);
            prop_assert!(allowed.is_none_or(|before| fewer < before || fewer == 16));
            prop_assert!(fewer >= 16);
            allowed = Some(fewer);
        }
        prop_assert_eq!(allowed, Some(16));
    }
}
