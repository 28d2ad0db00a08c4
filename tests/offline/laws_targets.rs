//! Laws of who is delivered to: which exchange is avoided, for how long, and which share a target gets.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dormouse::amqp::Freshness;
use dormouse::amqp::confirm_tracker::{Closed, Refused};
use dormouse::schedule::{Cause, Reason};
use dormouse::worker::{ExchangeBreaker, Route, TargetQuota};

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
