//! What `[commands]` adds to a broker: one queue for all that is decided, and a stream that keeps what it came to.

use dormouse::config::{Config, QueueType};
use dormouse::inventory::Seen;
use dormouse::management::{FeatureFlag, FeatureFlagState, Permissions};
use dormouse::topology::diff::Diff;
use dormouse::topology::finding::{Finding, Severity, Verdict};
use dormouse::topology::names::is_ours;
use dormouse::topology::verify::verify;
use dormouse::topology::{Argument, Arguments, LOG_MAX_BYTES, Names, Topology};
use serde_json::{Value, json};

use crate::topology_model::Model;
use crate::topology_verify::{self, as_it_should_be, bound, only, policy, queue};

fn config() -> Config {
    let mut config = Config::default();
    config.commands.enabled = true;
    config
}

fn of_commands(name: &str) -> bool {
    ["dormouse.command", "dormouse.unique", "dormouse.log"].contains(&name)
}

#[test]
fn nothing_of_it_stands_unless_it_is_enabled_and_nothing_else_changes() {
    for queue_type in [QueueType::Quorum, QueueType::Classic] {
        let mut config = config();
        config.topology.queue_type = queue_type;
        let mut with = Topology::of(&config);
        let count = (with.exchanges.len(), with.queues.len(), with.bindings.len());
        with.exchanges.retain(|exchange| !of_commands(&exchange.name));
        with.queues.retain(|queue| !of_commands(&queue.name));
        with.bindings.retain(|binding| !of_commands(&binding.source));
        let left = (with.exchanges.len(), with.queues.len(), with.bindings.len());
        assert_eq!((count.0 - left.0, count.1 - left.1, count.2 - left.2), (3, 2, 3));
        config.commands.enabled = false;
        assert_eq!(Topology::of(&config), with, "{queue_type:?}");
    }
}

/// The command queue is quorum even where the others are classic: the promise rests on the order in which a quorum
/// queue gives back what its single active consumer held.
#[test]
fn the_arguments_are_the_same_for_both_types_of_queues() {
    let text = |text: &str| Argument::Text(text.to_owned());
    let command: Arguments = [
        ("x-queue-type", text("quorum")),
        ("x-single-active-consumer", Argument::Switch(true)),
        ("x-delivery-limit", Argument::Number(1_000_000_000)),
        ("x-overflow", text("reject-publish")),
        ("x-queue-leader-locator", text("balanced")),
        ("x-dead-letter-exchange", text("dormouse.dlq")),
        ("x-dead-letter-strategy", text("at-least-once")),
    ]
    .into();
    let log: Arguments = [
        ("x-queue-type", text("stream")),
        ("x-max-length-bytes", Argument::Number(LOG_MAX_BYTES)),
        ("x-stream-max-segment-size-bytes", Argument::Number(16_000_000)),
    ]
    .into();
    for queue_type in [QueueType::Quorum, QueueType::Classic] {
        let mut config = config();
        config.topology.queue_type = queue_type;
        let topology = Topology::of(&config);
        let queue = |name: &str| topology.queues.iter().find(|queue| queue.name == name).unwrap();
        assert_eq!(queue("dormouse.command").arguments, command);
        assert_eq!(queue("dormouse.log").arguments, log);
        assert!(queue("dormouse.command").is_quorum() && queue("dormouse.log").is_stream());
    }
}

#[test]
fn commands_and_unique_schedules_stand_in_one_queue_and_only_entries_in_the_log() {
    let names = Names::of(&config());
    let mut model = Model { topology: Topology::of(&config()) };
    let keys = ["cancel".to_owned(), "any.queue".to_owned()];
    for exchange in [names.command(), names.unique()] {
        assert_eq!(model.route(&exchange, &keys), [names.command()].into());
    }
    assert_eq!(model.route(&names.log(), &keys), [names.log()].into());
    let to_log = |destination: &str| destination == names.log();
    let mut bindings = model.topology.bindings.iter();
    assert!(bindings.all(|found| !to_log(found.destination.name()) || to_log(&found.source)));
    model.topology.bindings.retain(|binding| binding.destination.name() != names.command());
    for exchange in [names.command(), names.unique()] {
        assert_eq!(model.route(&exchange, &keys), [names.parking()].into(), "unbound");
    }
}

/// Whatever begins with the same words is somebody else's: destroy deletes what is ours.
#[test]
fn names_of_commands_are_ours_and_no_longer_ones() {
    let names = Names::new("shop.later", 1);
    for name in [names.command(), names.unique(), names.log()] {
        assert!(is_ours("shop.later", &name), "{name}");
        assert!(!is_ours("shop.later", &format!("{name}.archive")), "{name}");
        assert!(!is_ours("shop", &name), "{name}");
    }
}

/// The verdict after `spoil`, on a small layout with commands.
fn after(spoil: impl FnOnce(&mut Seen)) -> Verdict {
    let mut config = topology_verify::config();
    config.commands.enabled = true;
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
fn nothing_is_wrong_where_commands_stand_as_they_should() {
    assert_eq!(after(|_| {}), Verdict::default());
}

#[test]
fn what_is_missing_says_what_becomes_of_commands() {
    let without = |name: &'static str| {
        move |seen: &mut Seen| {
            seen.standing.exchanges.retain(|found| found.name != name);
            seen.standing.bindings.retain(|found| found.source != name);
        }
    };
    for (name, effect) in [
        ("dormouse.command", "nothing is cancelled by it"),
        ("dormouse.unique", "nothing is cancelled by it"),
        ("dormouse.log", "messages with a key wait"),
    ] {
        let verdict = after(without(name));
        assert!(verdict.findings.iter().any(|finding| finding.effect.contains(effect)), "{name}");
    }
    one(Severity::Fault, "messages with a key wait", |seen| {
        seen.standing.queues.retain(|found| found.name != "dormouse.log");
        seen.standing
            .bindings
            .retain(|found| !found.source.is_empty() || found.destination != "dormouse.log");
    });
}

/// A queue that was declared by somebody else, with other arguments.
#[test]
fn other_arguments_say_what_they_do_to_commands() {
    let without = |name: &'static str, argument: &'static str| {
        move |seen: &mut Seen| drop(queue(seen, name).arguments.remove(argument))
    };
    let set = |name: &'static str, argument: &'static str, value: Value| {
        move |seen: &mut Seen| drop(queue(seen, name).arguments.insert(argument.into(), value))
    };
    let command = "dormouse.command";
    let finding = one(
        Severity::Fault,
        "several workers decide",
        without(command, "x-single-active-consumer"),
    );
    assert_eq!(finding.problem, "x-single-active-consumer is none, wanted true");
    assert!(finding.remedy.contains("delete it"), "{finding:#?}");
    let classic = set(command, "x-queue-type", json!("classic"));
    one(Severity::Fault, "another order", classic);
    one(Severity::Fault, "undecided", set(command, "x-message-ttl", json!(1_000)));
    one(Severity::Fault, "refuses commands", set(command, "x-max-length", json!(5)));
    let less = set("dormouse.log", "x-max-length-bytes", json!(1_000));
    let finding = one(Severity::Fault, "release no message with a key", less);
    assert!(finding.remedy.contains("`dormouse log accept`"), "{finding:#?}");
    one(
        Severity::Fault,
        "release no message with a key",
        set("dormouse.log", "x-max-age", json!("1h")),
    );
}

#[test]
fn a_policy_that_cuts_the_log_short_or_loses_commands_is_a_fault() {
    let set = |apply_to: &'static str, pattern: &'static str, key: &'static str, value: Value| {
        move |seen: &mut Seen| {
            queue(seen, pattern).effective_policy = Some([(key.to_owned(), value.clone())].into());
            seen.policies = Ok(vec![policy(apply_to, &format!("^{pattern}$"), key, value)]);
        }
    };
    let (log, command) = ("dormouse.log", "dormouse.command");
    for (key, value) in [("max-age", json!("7D")), ("max-length-bytes", json!(LOG_MAX_BYTES - 1))] {
        let finding = one(Severity::Fault, "misses it", set("streams", log, key, value));
        assert_eq!(finding.objects, ["queue dormouse.log"]);
    }
    for (key, value) in [
        ("message-ttl", json!(60_000)),
        ("expires", json!(60_000)),
        ("max-length", json!(10)),
        ("max-length-bytes", json!(10)),
        ("delivery-limit", json!(20)),
    ] {
        let finding = one(Severity::Fault, "", set("quorum_queues", command, key, value));
        let words = ["undecided", "should cancel is delivered", "refuses commands"];
        assert!(words.iter().any(|word| finding.effect.contains(word)), "{finding:#?}");
    }
    one(Severity::Fault, "at-most-once", set("queues", command, "overflow", json!("drop-head")));
    // what a stream takes no notice of, a longer log, and what applies to other kinds only
    for (apply_to, name, key, value) in [
        ("queues", log, "message-ttl", json!(1)),
        ("queues", log, "expires", json!(1)),
        ("queues", log, "max-length", json!(1)),
        ("all", log, "max-length-bytes", json!(LOG_MAX_BYTES)),
        ("queues", command, "delivery-limit", json!(2_000_000_000_u64)),
        ("queues", command, "dead-letter-exchange", json!("elsewhere")),
        ("queues", command, "dead-letter-routing-key", json!("elsewhere")),
    ] {
        assert_eq!(after(set(apply_to, name, key, value)), Verdict::default(), "{key} on {name}");
    }
    let stored_only = |seen: &mut Seen| {
        seen.policies = Ok(vec![policy("quorum_queues", "log", "max-age", json!("1s"))]);
    };
    assert_eq!(after(stored_only), Verdict::default(), "a stream is no quorum queue");
}

#[test]
fn a_log_with_fewer_replicas_than_it_could_have_is_a_fault() {
    let on = |nodes: usize, members: &'static [&'static str]| {
        move |seen: &mut Seen| {
            seen.nodes = Ok(nodes);
            let members = members.iter().map(|node| (*node).to_owned()).collect();
            queue(seen, "dormouse.log").members = Some(members);
        }
    };
    let finding = one(Severity::Fault, "forgotten", on(3, &["a"]));
    assert_eq!(finding.problem, "has 1 of 3 replicas");
    assert_eq!(finding.remedy, "rabbitmq-streams add_replica … dormouse.log NODE");
    one(Severity::Fault, "forgotten", on(5, &["a", "b"]));
    for enough in [on(5, &["a", "b", "c"]), on(2, &["a", "b"]), on(1, &["a"])] {
        assert_eq!(after(enough), Verdict::default());
    }
    let verdict = after(|seen| seen.nodes = Err("not for you".into()));
    assert_eq!(verdict.unseen, ["on how many nodes the log should be: not for you"]);
}

#[test]
fn what_comes_past_our_exchanges_is_a_note() {
    let to = |queue: &'static str| {
        move |seen: &mut Seen| seen.standing.bindings.push(bound("theirs", queue, "#"))
    };
    one(Severity::Note, "takes the room", to("dormouse.log"));
    one(Severity::Note, "takes part", to("dormouse.command"));
}

#[test]
fn without_streams_there_is_no_log() {
    one(Severity::Fault, "log of commands cannot be declared", |seen| {
        let disabled =
            FeatureFlag { name: "stream_queue".into(), state: FeatureFlagState::Disabled };
        seen.feature_flags = Ok(vec![disabled]);
    });
}

/// One that does not declare needs less: to append, to mark, and to read both.
#[test]
fn the_user_may_decide_commands() {
    let mut config = topology_verify::config();
    config.commands.enabled = true;
    config.topology.declare = false;
    let judged = |change: fn(&mut Permissions)| {
        let mut seen = as_it_should_be(&config);
        let Ok(Some(permissions)) = &mut seen.permissions else { panic!("as it should be") };
        permissions.configure = String::new();
        permissions.write = "^(dormouse\\.(v1\\..*|dlq|command|log)|amq\\.default)$".into();
        permissions.read =
            "^dormouse\\.(v1\\.due|intake|expired|retry|parking|command|log)$".into();
        change(permissions);
        let objects = verify(&config, &seen).findings.into_iter().flat_map(|found| found.objects);
        objects.collect::<Vec<_>>()
    };
    assert!(judged(|_| {}).is_empty());
    assert_eq!(
        judged(|may| may.write = may.write.replace("|command|log", "")),
        ["dormouse.command", "dormouse.log"]
    );
    assert_eq!(
        judged(|may| may.read = may.read.replace("|command|log", "")),
        ["dormouse.command", "dormouse.log"]
    );
}

/// Commands that nobody decides are confirmed all the same.
#[test]
fn what_stands_though_commands_are_off_is_told() {
    let mut config = topology_verify::config();
    config.commands.enabled = true;
    let seen = as_it_should_be(&config);
    config.commands.enabled = false;
    let verdict = verify(&config, &seen);
    let of = |weight: Severity| {
        let findings = verdict.findings.iter().filter(move |finding| finding.weight == weight);
        findings.flat_map(|finding| finding.objects.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(Severity::Fault), ["exchange dormouse.command", "exchange dormouse.unique"]);
    assert_eq!(
        of(Severity::Note),
        ["exchange dormouse.log", "queue dormouse.command", "queue dormouse.log"]
    );
    let wanted = Topology::of(&config);
    let left = seen.standing.left_of_commands(&wanted, &Names::of(&config));
    assert_eq!(left.len(), 5);
    assert!(seen.standing.orphans(&wanted, "dormouse").is_empty(), "told once");
    assert!(seen.standing.leftovers(&wanted, "dormouse").is_empty(), "drain leaves them alone");
    assert!(Diff::of(&wanted, &seen.standing).is_empty(), "a declare passes over them");
    let none = as_it_should_be(&config);
    assert!(none.standing.left_of_commands(&wanted, &Names::of(&config)).is_empty());
}
