//! What plan and verify say of a broker, without one: what stands is made from the topology and then
//! spoilt, one thing at a time.

use std::collections::BTreeMap;

use dormouse::config::Config;
use dormouse::inventory::Inventory;
use dormouse::inventory::Seen;
use dormouse::management::{
    BindingInfo, DestinationType, ExchangeInfo, FeatureFlag, FeatureFlagState, Permissions, Policy,
    QueueInfo,
};
use dormouse::topology::diff::Diff;
use dormouse::topology::finding::{Finding, Severity, Verdict};
use dormouse::topology::verify::verify;
use dormouse::topology::{Argument, Arguments, Destination, Topology};
use serde_json::{Value, json};

/// The one finding of a verdict, with its effect in these words.
#[track_caller]
pub fn only(verdict: &Verdict, weight: Severity, effect: &str) -> Finding {
    let [finding] = verdict.findings.as_slice() else { panic!("{:#?}", verdict.findings) };
    assert_eq!(finding.weight, weight, "{finding:#?}");
    assert!(finding.effect.contains(effect), "{finding:#?}");
    assert_eq!(verdict.has_faults(), weight == Severity::Fault);
    finding.clone()
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.topology.unit = std::time::Duration::from_secs(1);
    config.topology.radix = 4;
    config.topology.max_delay = std::time::Duration::from_secs(100);
    config
}

/// A broker where everything is as it should be, with a worker.
pub fn as_it_should_be(config: &Config) -> Seen {
    let topology = Topology::of(config);
    let queue = |queue: &dormouse::topology::Queue| {
        let arguments = json(&queue.arguments);
        QueueInfo {
            effective_policy: Some(BTreeMap::new()),
            consumers: Some(1),
            messages: Some(0),
            state: Some("running".into()),
            ..serde_json::from_value(json!({
                "name": queue.name, "type": arguments["x-queue-type"], "durable": true, "arguments": arguments,
            }))
            .unwrap()
        }
    };
    let exchange = |exchange: &dormouse::topology::Exchange| ExchangeInfo {
        name: exchange.name.clone(),
        kind: exchange.kind.as_str().into(),
        durable: true,
        auto_delete: false,
        internal: exchange.internal,
        arguments: json(&exchange.arguments),
        messages_delayed: None,
    };
    let binding = |binding: &dormouse::topology::Binding| BindingInfo {
        source: binding.source.clone(),
        destination: binding.destination.name().into(),
        destination_type: match binding.destination {
            Destination::Queue(_) => DestinationType::Queue,
            Destination::Exchange(_) => DestinationType::Exchange,
        },
        routing_key: binding.routing_key.clone(),
        arguments: BTreeMap::new(),
    };
    let mut bindings: Vec<_> = topology.bindings.iter().map(binding).collect();
    // as the default exchange binds every queue
    bindings.extend(topology.queues.iter().map(|queue| bound("", &queue.name, &queue.name)));
    let flag = |name: &str| FeatureFlag { name: name.into(), state: FeatureFlagState::Enabled };
    let all = ".*".to_owned();
    let (user, vhost) = ("dormouse".into(), "/".into());
    Seen {
        rabbitmq_version: "3.10.8".into(),
        standing: Inventory {
            exchanges: topology.exchanges.iter().map(exchange).collect(),
            queues: topology.queues.iter().map(queue).collect(),
            bindings,
            passed_over: 0,
        },
        feature_flags: Ok(["quorum_queue", "stream_queue"].map(flag).into()),
        policies: Ok(Vec::new()),
        operator_policies: Ok(Vec::new()),
        max_queues: Ok(None),
        nodes: Ok(1),
        permissions: Ok(Some(Permissions {
            user,
            vhost,
            configure: all.clone(),
            write: all.clone(),
            read: all,
        })),
    }
}

pub(super) fn json(arguments: &Arguments) -> BTreeMap<String, Value> {
    let value = |argument: &Argument| match argument {
        Argument::Text(text) => json!(text),
        Argument::Number(number) => json!(number),
        Argument::Switch(on) => json!(on),
    };
    arguments.iter().map(|(name, argument)| ((*name).to_owned(), value(argument))).collect()
}

pub fn bound(source: &str, queue: &str, key: &str) -> BindingInfo {
    BindingInfo {
        source: source.into(),
        destination: queue.into(),
        destination_type: DestinationType::Queue,
        routing_key: key.into(),
        arguments: BTreeMap::new(),
    }
}

pub fn queue<'a>(seen: &'a mut Seen, name: &str) -> &'a mut QueueInfo {
    seen.standing.queues.iter_mut().find(|queue| queue.name == name).unwrap()
}

pub fn foreign_queue(seen: &mut Seen, name: &str, messages: u64) {
    let mut other = seen.standing.queues[0].clone();
    other.name = name.into();
    other.messages = Some(messages);
    seen.standing.queues.push(other);
}

pub fn policy(apply_to: &str, pattern: &str, key: &str, value: Value) -> Policy {
    Policy {
        name: "blanket".into(),
        pattern: pattern.into(),
        apply_to: apply_to.into(),
        definition: [(key.to_owned(), value)].into(),
        priority: 0,
    }
}

/// The verdict after `spoil`.
pub fn after(spoil: impl FnOnce(&mut Seen)) -> Verdict {
    let config = config();
    let mut seen = as_it_should_be(&config);
    spoil(&mut seen);
    verify(&config, &seen)
}

/// The one finding after `spoil`, with its effect in these words.
#[track_caller]
pub fn one(weight: Severity, effect: &str, spoil: impl FnOnce(&mut Seen)) -> Finding {
    only(&after(spoil), weight, effect)
}

#[test]
fn nothing_is_wrong_where_nothing_is() {
    assert_eq!(after(|_| {}), Verdict::default());
    let config = config();
    let diff = Diff::of(&Topology::of(&config), &as_it_should_be(&config).standing);
    assert!(diff.is_empty() && diff.foreign.is_empty(), "{diff:#?}");
}

#[test]
fn on_an_empty_broker_everything_is_to_be_made() {
    let wanted = Topology::of(&config());
    let diff = Diff::of(&wanted, &Inventory::default());
    assert_eq!(diff.missing, wanted);
    assert!(diff.different.is_empty() && diff.foreign.is_empty());
}

#[test]
fn what_is_missing_says_what_becomes_of_messages() {
    let finding = one(Severity::Fault, "parked", |seen| {
        seen.standing.queues.retain(|queue| queue.name != "dormouse.v1.due");
    });
    assert_eq!(finding.objects, ["queue dormouse.v1.due"]);
    one(Severity::Fault, "404", |seen| {
        seen.standing.exchanges.retain(|exchange| exchange.name != "dormouse.delay");
    });
    one(Severity::Fault, "stop a level queue for everybody", |seen| {
        seen.standing.exchanges.retain(|exchange| exchange.name != "dormouse.v1.level.01");
    });
    one(Severity::Fault, "what consumers reject is dropped", |seen| {
        seen.standing.exchanges.retain(|exchange| exchange.name != "dormouse.retry");
    });
    let finding = one(Severity::Fault, "parked", |seen| {
        seen.standing.bindings.retain(|binding| binding.routing_key != "skip-1");
    });
    assert_eq!(finding.objects, ["binding dormouse.v1.level.01 → dormouse.v1.level.00 (skip-1)"]);
}

#[test]
fn a_different_argument_says_what_it_does() {
    for (name, argument, value, effect) in [
        ("dormouse.v1.level.01.001.4s", "x-message-ttl", json!(5_000), "arrive late"),
        ("dormouse.v1.level.01.001.4s", "x-message-ttl", json!(3_000), "leave this queue early"),
        ("dormouse.v1.level.01.001.4s", "x-message-ttl", Value::Null, "arrive late"),
        ("dormouse.v1.level.01.001.4s", "x-dead-letter-exchange", json!("other"), "astray"),
        ("dormouse.v1.level.01.001.4s", "x-overflow", json!("drop-head"), "at-most-once"),
        ("dormouse.v1.level.01.001.4s", "x-expires", json!(60_000), "deletes the queue"),
        ("dormouse.v1.due", "x-delivery-limit", json!(20), "dropped for good"),
        ("dormouse.v1.due", "x-delivery-limit", Value::Null, "21 times"),
        ("dormouse.v1.due", "x-max-length", json!(10), "once it is full it rejects"),
        ("dormouse.v1.due", "x-message-ttl", json!(10), "dropped for good"),
        ("dormouse.v1.due", "x-single-active-consumer", json!(true), "406"),
    ] {
        let finding = one(Severity::Fault, effect, |seen| {
            let arguments = &mut queue(seen, name).arguments;
            match &value {
                Value::Null => drop(arguments.remove(argument)),
                value => drop(arguments.insert(argument.into(), value.clone())),
            }
        });
        assert!(finding.problem.contains(argument), "{finding:#?}");
        assert!(finding.remedy.contains("topology.version"), "{finding:#?}");
    }
    // RabbitMQ compares no argument that it does not know
    let verdict = after(|seen| {
        queue(seen, "dormouse.v1.due").arguments.insert("team".into(), json!("shop"));
    });
    assert_eq!(verdict, Verdict::default());
}

#[test]
fn queues_that_stand_still_are_told() {
    one(Severity::Fault, "late", |seen| {
        queue(seen, "dormouse.v1.due").state = Some("minority".into());
    });
    one(Severity::Note, "stands still for everybody", |seen| {
        queue(seen, "dormouse.v1.level.01.001.4s").dead_letter_backlog = Some(32);
    });
    one(Severity::Note, "until a worker runs", |seen| {
        queue(seen, "dormouse.v1.due").consumers = Some(0);
    });
}

#[test]
fn the_broker_itself_is_judged() {
    one(Severity::Fault, "lost while they sleep", |seen| seen.rabbitmq_version = "3.9.29".into());
    one(Severity::Note, "nobody has looked", |seen| seen.rabbitmq_version = "4.4.0-rc.1".into());
    for version in ["3.10.0", "3.13.7", "4.0.5", "4.3.6"] {
        assert_eq!(after(|seen| seen.rabbitmq_version = version.into()), Verdict::default());
    }
    let disabled = FeatureFlag { name: "stream_queue".into(), state: FeatureFlagState::Disabled };
    let finding = one(Severity::Fault, "at-most-once", |seen| {
        seen.feature_flags = Ok(vec![disabled]);
    });
    assert_eq!(finding.remedy, "rabbitmqctl enable_feature_flag stream_queue");
    // 4.3 lists neither: they are always on
    assert_eq!(after(|seen| seen.feature_flags = Ok(Vec::new())), Verdict::default());
}

#[test]
fn the_user_may_do_what_a_worker_does() {
    let limited = |change: fn(&mut Permissions)| {
        move |seen: &mut Seen| {
            let Ok(Some(permissions)) = &mut seen.permissions else { panic!("as it should be") };
            change(permissions);
        }
    };
    one(Severity::Fault, "cannot connect", |seen| seen.permissions = Ok(None));
    one(Severity::Fault, "(403)", limited(|may| may.configure = String::new()));
    one(Severity::Fault, "cannot read", limited(|may| may.read = "level".into()));
    let finding =
        one(Severity::Fault, "refused (403)", limited(|may| may.write = "^dormouse".into()));
    assert_eq!(finding.objects, ["amq.default"]);
    assert_eq!(
        after(limited(|may| may.write = "^(dormouse\\..*|amq\\.default)$".into())),
        Verdict::default()
    );
    // one that does not declare needs less
    let mut config = config();
    config.topology.declare = false;
    let mut seen = as_it_should_be(&config);
    limited(|may| {
        may.configure = String::new();
        may.write = "^(dormouse\\.(v1\\..*|dlq)|amq\\.default)$".into();
        may.read = "^dormouse\\.(v1\\.due|intake|expired|retry|parking)$".into();
    })(&mut seen);
    assert_eq!(verify(&config, &seen), Verdict::default());
}

/// RabbitMQ counts all queues of the virtual host, and leaves alone what stands.
#[test]
fn a_limit_of_queues_is_told_before_it_refuses() {
    let config = config();
    let all = Topology::of(&config).queues.len();
    let told = |max_queues: Option<usize>, standing: usize| {
        let mut seen = as_it_should_be(&config);
        seen.max_queues = Ok(max_queues);
        seen.standing.queues.truncate(standing);
        let verdict = verify(&config, &seen);
        verdict.findings.into_iter().find(|finding| finding.objects == ["limit max-queues"])
    };
    for (max_queues, standing) in [(None, 0), (Some(all), 0), (Some(all), 3), (Some(1), all)] {
        assert_eq!(told(max_queues, standing), None, "{max_queues:?} {standing}");
    }
    for (max_queues, standing) in [(0, 0), (all - 1, 0), (all - 1, all - 1), (1, 3)] {
        let told = told(Some(max_queues), standing).expect("it is told");
        assert_eq!(told.weight, Severity::Fault);
        for words in [
            format!("may have {max_queues} queues"),
            format!("{standing} stand"),
            format!("{} are missing", all - standing),
        ] {
            assert!(told.problem.contains(&words), "{words}: {}", told.problem);
        }
        assert!(told.remedy.contains("set_vhost_limits") && told.remedy.contains("topology.radix"));
    }
    let mut seen = as_it_should_be(&config);
    seen.max_queues = Err("user \"shop\" may not see it".into());
    assert!(verify(&config, &seen).unseen.is_empty(), "nothing is missing");
    seen.standing.queues.pop();
    assert!(verify(&config, &seen).unseen[0].contains("how many queues"));
}

#[test]
fn queues_that_were_passed_over_count_and_are_told() {
    let config = config();
    let mut seen = as_it_should_be(&config);
    seen.standing.passed_over = 10_000;
    let verdict = verify(&config, &seen);
    assert!(verdict.findings.is_empty(), "{verdict:?}");
    assert!(verdict.unseen[0].contains("10000 queues of others"), "{verdict:?}");
    seen.max_queues = Ok(Some(10_000));
    seen.standing.queues.pop();
    let crowded = verify(&config, &seen).findings.into_iter();
    let mut crowded = crowded.filter(|finding| finding.objects == ["limit max-queues"]);
    assert!(crowded.next().expect("it is told").problem.contains("may have 10000 queues"));
}

#[test]
fn what_could_not_be_seen_is_said() {
    let verdict = after(|seen| {
        let why = || "user \"shop\" may not see it".to_owned();
        seen.feature_flags = Err(why());
        seen.policies = Err(why());
        seen.operator_policies = Err(why());
        seen.permissions = Err(why());
        for queue in &mut seen.standing.queues {
            queue.effective_policy = None;
        }
    });
    assert!(verdict.findings.is_empty(), "{verdict:#?}");
    let unseen = verdict.unseen.join("\n");
    for what in ["feature flags", "policies", "effective policy of", "permissions"] {
        assert!(unseen.contains(what), "{what}: {unseen}");
    }
}
