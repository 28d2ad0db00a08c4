//! What `[ledger]` adds to a broker: one stream that forgets by itself, and that no delivery waits for.

use std::time::Duration;

use dormouse::config::{Config, QueueType};
use dormouse::inventory::Seen;
use dormouse::topology::diff::Diff;
use dormouse::topology::finding::{Finding, Severity, Verdict};
use dormouse::topology::names::is_ours;
use dormouse::topology::verify::verify;
use dormouse::topology::{Argument, Arguments, Names, Topology};
use serde_json::{Value, json};

use crate::topology_model::Model;
use crate::topology_verify::{self, as_it_should_be, bound, only, policy, queue};

const LEDGER: &str = "dormouse.ledger";

fn config() -> Config {
    let mut config = topology_verify::config();
    config.ledger.enabled = true;
    config
}

#[test]
fn nothing_of_it_stands_unless_it_is_enabled_and_nothing_else_changes() {
    for queue_type in [QueueType::Quorum, QueueType::Classic] {
        let mut config = config();
        config.topology.queue_type = queue_type;
        let mut with = Topology::of(&config);
        let count = (with.exchanges.len(), with.queues.len(), with.bindings.len());
        with.exchanges.retain(|exchange| exchange.name != LEDGER);
        with.queues.retain(|queue| queue.name != LEDGER);
        with.bindings.retain(|binding| binding.source != LEDGER);
        let left = (with.exchanges.len(), with.queues.len(), with.bindings.len());
        assert_eq!((count.0 - left.0, count.1 - left.1, count.2 - left.2), (1, 1, 1));
        config.ledger.enabled = false;
        assert_eq!(Topology::of(&config), with, "{queue_type:?}");
    }
}

#[test]
fn it_is_a_stream_bounded_by_age_and_bytes_and_only_its_exchange_leads_there() {
    let mut config = config();
    for (max_age, spelled) in
        [(7 * 86_400, "7D"), (86_400 + 3_600, "25h"), (90 * 60, "90m"), (61, "61s")]
    {
        config.ledger.max_age = Duration::from_secs(max_age);
        let topology = Topology::of(&config);
        let stream = topology.queues.iter().find(|queue| queue.name == LEDGER).unwrap();
        let wanted: Arguments = [
            ("x-queue-type", Argument::Text("stream".into())),
            ("x-max-age", Argument::Text(spelled.into())),
            ("x-max-length-bytes", Argument::Number(4 << 30)),
            ("x-stream-max-segment-size-bytes", Argument::Number(64_000_000)),
        ]
        .into();
        assert_eq!(stream.arguments, wanted);
    }
    let names = Names::of(&config);
    assert!(names.is_of_workers(LEDGER) && !names.is_of_commands(LEDGER));
    let model = Model { topology: Topology::of(&config) };
    assert_eq!(model.route(LEDGER, &["any".to_owned()]), [LEDGER.to_owned()].into());
    let mut bindings = model.topology.bindings.iter();
    assert!(bindings.all(|found| found.destination.name() != LEDGER || found.source == LEDGER));
    assert!(is_ours("dormouse", LEDGER) && !is_ours("dormouse", "dormouse.ledger.archive"));
}

/// The verdict after `spoil`, on a small layout with the ledger.
fn after(spoil: impl FnOnce(&mut Seen)) -> Verdict {
    let config = config();
    let mut seen = as_it_should_be(&config);
    spoil(&mut seen);
    verify(&config, &seen)
}

/// The one finding after `spoil`, with its effect in these words.
#[track_caller]
fn one(weight: Severity, effect: &str, spoil: impl FnOnce(&mut Seen)) -> Finding {
    only(&after(spoil), weight, effect)
}

#[test]
fn nothing_is_wrong_where_it_stands_as_it_should() {
    assert_eq!(after(|_| {}), Verdict::default());
}

#[test]
fn what_is_missing_or_other_says_that_deliveries_go_on() {
    let verdict = after(|seen| {
        seen.standing.exchanges.retain(|found| found.name != LEDGER);
        seen.standing.bindings.retain(|found| found.source != LEDGER);
    });
    assert!(verdict.findings.iter().all(|finding| finding.effect.contains("delivered as ever")));
    one(Severity::Fault, "delivered as ever", |seen| {
        seen.standing.queues.retain(|found| found.name != LEDGER);
        let is_of_it = |binding: &str, source: &str| source.is_empty() && binding == LEDGER;
        seen.standing.bindings.retain(|found| !is_of_it(&found.destination, &found.source));
    });
    let set = |argument: &'static str, value: Value| {
        move |seen: &mut Seen| drop(queue(seen, LEDGER).arguments.insert(argument.into(), value))
    };
    let finding = one(Severity::Fault, "does not run", set("x-max-age", json!("1D")));
    assert_eq!(finding.problem, "x-max-age is 1D, wanted 7D");
    assert!(finding.remedy.contains("by a policy"), "{finding:#?}");
    one(Severity::Fault, "does not run", set("x-queue-type", json!("quorum")));
}

/// On a stream a policy wins over the arguments: that is how an operator changes what it keeps.
#[test]
fn a_policy_that_keeps_less_is_a_note_and_one_that_keeps_more_is_none() {
    let set = |key: &'static str, value: Value| {
        move |seen: &mut Seen| {
            queue(seen, LEDGER).effective_policy = Some([(key.to_owned(), value.clone())].into());
            seen.policies = Ok(vec![policy("streams", "ledger$", key, value)]);
        }
    };
    for (key, value) in [
        ("max-age", json!("6D")),
        ("max-age", json!("167h")),
        ("max-age", json!("soon")),
        ("max-length-bytes", json!((4_i64 << 30) - 1)),
    ] {
        one(Severity::Note, "has a gap", set(key, value));
    }
    for (key, value) in [
        ("max-age", json!("7D")),
        ("max-age", json!("1Y")),
        ("max-length-bytes", json!(4_i64 << 30)),
        ("message-ttl", json!(1)),
        ("max-length", json!(1)),
    ] {
        assert_eq!(after(set(key, value.clone())), Verdict::default(), "{key} {value}");
    }
}

#[test]
fn replicas_strangers_and_permissions_are_told() {
    let finding = one(Severity::Note, "nothing is noted", |seen| {
        seen.nodes = Ok(3);
        queue(seen, LEDGER).members = Some(vec!["a".into(), "b".into()]);
    });
    assert_eq!(finding.problem, "has 2 of 3 replicas");
    let verdict = after(|seen| seen.nodes = Err("not for you".into()));
    assert_eq!(verdict.unseen, ["on how many nodes the ledger should be: not for you"]);
    one(Severity::Note, "passes over", |seen| {
        seen.standing.bindings.push(bound("theirs", LEDGER, "#"));
    });
    let mut config = config();
    config.topology.declare = false;
    let mut seen = as_it_should_be(&config);
    let Ok(Some(permissions)) = &mut seen.permissions else { panic!("as it should be") };
    permissions.configure = String::new();
    permissions.write = "^(dormouse\\.(v1\\..*|dlq)|amq\\.default)$".into();
    let verdict = verify(&config, &seen);
    let [finding] = verdict.findings.as_slice() else { panic!("{:#?}", verdict.findings) };
    assert_eq!(finding.objects, [LEDGER]);
}

#[test]
fn what_stands_though_it_is_off_is_told_once_and_is_in_the_way_of_nothing() {
    let mut config = config();
    let seen = as_it_should_be(&config);
    config.ledger.enabled = false;
    let verdict = verify(&config, &seen);
    let [finding] = verdict.findings.as_slice() else { panic!("{:#?}", verdict.findings) };
    assert_eq!(finding.weight, Severity::Note);
    assert_eq!(finding.objects, ["exchange dormouse.ledger", "queue dormouse.ledger"]);
    let (wanted, names) = (Topology::of(&config), Names::of(&config));
    assert_eq!(seen.standing.left_of_ledger(&wanted, &names).len(), 2);
    assert!(seen.standing.left_of_commands(&wanted, &names).is_empty());
    assert!(seen.standing.orphans(&wanted, "dormouse").is_empty());
    assert!(seen.standing.leftovers(&wanted, "dormouse").is_empty(), "drain leaves it alone");
    assert!(Diff::of(&wanted, &seen.standing).is_empty(), "a declare passes over it");
}
