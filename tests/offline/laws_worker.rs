//! Laws of the worker's pure parts: which publishes are settled, acks, the hold, targets.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use dormouse::amqp::confirm_tracker::{Closed, Confirm, ConfirmTracker, Outcome, Refused, Return};
use dormouse::amqp::prefetch::Prefetch;
use dormouse::amqp::{Acks, Freshness};
use dormouse::schedule::{Cause, Reason, UnixMs};
use dormouse::worker::{Channels, ExchangeBreaker, Hold, Route, TargetQuota};
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

#[test]
fn the_first_message_to_an_exchange_probes_it_for_the_rest() {
    let now = Instant::now();
    let mut targets = ExchangeBreaker::new(Duration::from_secs(5));
    assert_eq!(targets.route("orders", 1, now), Route::Queued);
    assert_eq!(targets.route("orders", 2, now), Route::Queued);
    assert_eq!(targets.route("gone", 3, now), Route::Queued);
    assert_eq!(targets.next_probe(), Some(("orders".into(), 1)));
    assert_eq!(targets.next_probe(), Some(("gone".into(), 3)), "one probe an exchange");
    assert_eq!(targets.next_probe(), None);
    assert_eq!(targets.trust("orders"), [2]);
    assert_eq!(targets.route("orders", 4, now), Route::Shared(4));
}

#[test]
fn a_failed_exchange_is_avoided_for_a_while_and_then_probed_again() {
    let now = Instant::now();
    let mut targets = ExchangeBreaker::new(Duration::from_secs(5));
    assert_eq!(targets.route("gone", 1, now), Route::Queued);
    assert_eq!(targets.route("gone", 2, now), Route::Queued);
    assert_eq!(targets.next_probe(), Some(("gone".into(), 1)));
    assert_eq!(
        targets.avoid("gone", &Cause::new(Reason::ExchangeNotFound, "404"), now),
        [2],
        "they fail with it"
    );
    let failed = Route::Failed(3, Cause::new(Reason::ExchangeNotFound, "404"));
    assert_eq!(targets.route("gone", 3, now + Duration::from_secs(4)), failed);
    assert_eq!(targets.route("gone", 4, now + Duration::from_secs(6)), Route::Queued);
    assert_eq!(targets.next_probe(), Some(("gone".into(), 4)));
}

#[test]
fn a_message_that_was_the_trouble_itself_leaves_the_exchange_open_to_the_next() {
    let now = Instant::now();
    let mut targets = ExchangeBreaker::new(Duration::from_secs(5));
    assert_eq!(targets.route("orders", 1, now), Route::Queued);
    assert_eq!(targets.route("orders", 2, now), Route::Queued);
    assert_eq!(targets.next_probe(), Some(("orders".into(), 1)));
    targets.probe_again("orders");
    assert_eq!(targets.next_probe(), Some(("orders".into(), 2)));
    targets.probe_again("orders");
    assert_eq!(targets.next_probe(), None, "nobody waits");
    assert_eq!(targets.route("orders", 3, now), Route::Queued);
    assert_eq!(targets.next_probe(), Some(("orders".into(), 3)));
    targets.trust("orders");
    targets.doubt_all();
    assert_eq!(targets.route("orders", 5, now), Route::Queued, "after the shared channel closed");
}

/// RabbitMQ's own words, as 3.10.8, 4.0.5 and 4.3.6 said them.
#[test]
fn a_refused_key_is_told_from_a_refused_exchange() {
    let key = |exchange| Refused::Key { exchange };
    let quoted = "access to topic 'a' in exchange 'b' in vhost 'c' in exchange 'it's' in vhost 'd e' \
                  refused for user 'f'";
    let cut = format!("write access to topic '{}...", "b".repeat(200));
    for (code, text, refused) in [
        (
            403,
            "access to topic 'bad.x' in exchange 'orders' in vhost 'v' refused for user 'u'",
            key(Some("orders")),
        ),
        (
            403,
            "write access to topic '' in exchange 'orders' in vhost 'v' refused for user 'u'",
            key(Some("orders")),
        ),
        (403, quoted, key(Some("it's"))),
        (403, &cut, key(None)),
        (403, "access to exchange 'topic' in vhost 'v' refused for user 'u'", Refused::Exchange),
        (
            403,
            "write access to exchange 'topic' in vhost 'v' refused for user 'u'",
            Refused::Exchange,
        ),
        (403, "cannot publish to internal exchange 'inner' in vhost 'v'", Refused::Exchange),
        (404, "no exchange 'nope' in vhost 'v'", Refused::Exchange),
        (406, "user_id property set to 'other' but authenticated user was 'u'", Refused::Message),
        (0, "invalid connection state", Refused::Message),
    ] {
        let closed = Closed { code, text: format!("WORD - {text}") };
        assert_eq!(closed.refused(), refused, "{code} {text}");
    }
}

#[test]
fn an_exchange_that_refused_a_key_is_asked_for_each_key() {
    let now = Instant::now();
    let mut targets = ExchangeBreaker::new(Duration::from_secs(5));
    let door = |targets: &ExchangeBreaker<u8>, keys: &[&str], now| {
        targets.door("orders", keys.iter().map(|key| (*key).into()), now)
    };
    assert_eq!(door(&targets, &["ok", "cc"], now), "orders", "one door, as long as all is well");
    assert_eq!(targets.route("orders", 1, now), Route::Queued);
    assert_eq!(targets.route("orders", 2, now), Route::Queued);
    assert_eq!(targets.next_probe(), Some(("orders".into(), 1)));
    assert_eq!(targets.ask_by_key("orders", now), [2], "who waits is routed by key");
    let (ok, bad) = (door(&targets, &["ok"], now), door(&targets, &["bad"], now));
    let other = door(&targets, &["ok", "bad"], now);
    assert_eq!(BTreeSet::from([&ok, &bad, &other]).len(), 3);
    let cause = Cause::new(Reason::AccessRefused, "403");
    assert!(targets.avoid(&bad, &cause, now).is_empty());
    let failed = Route::Failed(3, cause);
    assert_eq!(targets.route(&bad, 3, now), failed, "while it is fresh");
    assert_eq!(targets.route(&ok, 2, now), Route::Queued);
    assert_eq!(targets.next_probe(), Some((ok.clone(), 2)), "the other keys are not touched");
    assert!(targets.trust(&ok).is_empty());
    assert_eq!(targets.route(&ok, 4, now), Route::Shared(4));
    let later = now + Duration::from_secs(6);
    assert_eq!(targets.route(&bad, 5, later), Route::Queued, "a permission may be given");
    let much_later = now + Duration::from_secs(601);
    assert_eq!(door(&targets, &["bad"], much_later), "orders", "abandoned in the end");
    targets.ask_as_one("orders");
    assert_eq!(door(&targets, &["bad"], now), "orders", "the exchange itself is gone");
}

#[test]
fn keys_without_number_are_not_remembered_without_bound() {
    let now = Instant::now();
    let mut targets = ExchangeBreaker::new(Duration::from_secs(5));
    for key in 0..50_000 {
        let door = key.to_string();
        assert_eq!(targets.route(&door, key, now), Route::Queued);
        let (door, _) = targets.next_probe().unwrap();
        assert!(targets.trust(&door).is_empty());
    }
    assert!(targets.len() <= 10_000, "{}", targets.len());
}

/// While a queue is full, channels follow each other at a bounded rate; without a refusal, never.
#[test]
fn a_channel_that_was_refused_is_given_up_but_not_at_once() {
    let start = Instant::now();
    let mut freshness = Freshness::new(start);
    assert!(!freshness.is_stale(start + Duration::from_secs(3_600)), "nobody refused");
    let mut renewed = 0;
    for tenths in 0..600 {
        let now = start + Duration::from_millis(tenths * 100);
        freshness.refuse();
        if freshness.is_stale(now) {
            renewed += 1;
            freshness = Freshness::new(now);
        }
    }
    assert!((10..=30).contains(&renewed), "{renewed} channels in a minute of refusals");
}

#[test]
fn a_target_that_does_not_answer_gets_its_share_and_no_more() {
    let mut shares = TargetQuota::new(2);
    assert_eq!((shares.enter("stuck", 1), shares.enter("stuck", 2)), (Some(1), Some(2)));
    assert_eq!(
        (shares.enter("stuck", 3), shares.enter("stuck", 4)),
        (None, None),
        "they wait in line"
    );
    assert_eq!(shares.enter("healthy", 5), Some(5), "everybody else goes past");
    assert_eq!(shares.leave("stuck"), Some(3));
    assert_eq!(shares.leave("stuck"), Some(4));
    assert_eq!((shares.leave("stuck"), shares.leave("stuck")), (None, None));
    assert_eq!(shares.enter("stuck", 6), Some(6));
    assert_eq!(shares.leave("healthy"), None);
}

/// However the askers come, a pace never gives more turns than its rate and a short burst, and takes
/// no longer than its rate says.
#[test]
fn a_pace_is_kept_and_used() {
    use dormouse::worker::RateLimiter;
    let start = Instant::now();
    let mut pace = RateLimiter::new(1_000);
    // all at once: the turns lie a millisecond apart
    let waits: Vec<_> = (0..100).map(|_| pace.take(start)).collect();
    let apart = (0..100).map(Duration::from_millis).collect::<Vec<_>>();
    assert_eq!(waits, apart);
    // after a long pause there is no more than a burst of 50 ms to catch up with
    let later = start + Duration::from_secs(60);
    let at_once = (0..200).filter(|_| pace.take(later).is_zero()).count();
    assert_eq!(at_once, 51);
    let mut unlimited = RateLimiter::new(0);
    assert!((0..1_000).all(|_| unlimited.take(start).is_zero()));
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
