//! What plan and verify say of a broker, without one: what stands is made from the topology and then
//! spoilt, one thing at a time.

use std::collections::BTreeMap;

use dormouse::config::{Config, DelayExchange};
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

fn config() -> Config {
    let mut config = Config::default();
    config.topology.unit = std::time::Duration::from_secs(1);
    config.topology.radix = 4;
    config.topology.max_delay = std::time::Duration::from_secs(100);
    config
}

/// A broker where everything is as it should be, with a worker.
fn as_it_should_be(config: &Config) -> Seen {
    let topology = Topology::of(config);
    let queue = |queue: &dormouse::topology::Queue| {
        let arguments = json(&queue.arguments);
        QueueInfo {
            effective_policy: Some(BTreeMap::new()),
            consumers: Some(1),
            messages: Some(0),
            state: Some("running".into()),
            ..serde_json::from_value(json!({
                "name": queue.name, "type": "quorum", "durable": true, "arguments": arguments,
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
        },
        feature_flags: Ok(["quorum_queue", "stream_queue"].map(flag).into()),
        policies: Ok(Vec::new()),
        operator_policies: Ok(Vec::new()),
        max_queues: Ok(None),
        permissions: Ok(Some(Permissions {
            user,
            vhost,
            configure: all.clone(),
            write: all.clone(),
            read: all,
        })),
    }
}

fn json(arguments: &Arguments) -> BTreeMap<String, Value> {
    let value = |argument: &Argument| match argument {
        Argument::Text(text) => json!(text),
        Argument::Number(number) => json!(number),
    };
    arguments.iter().map(|(name, argument)| ((*name).to_owned(), value(argument))).collect()
}

fn bound(source: &str, queue: &str, key: &str) -> BindingInfo {
    BindingInfo {
        source: source.into(),
        destination: queue.into(),
        destination_type: DestinationType::Queue,
        routing_key: key.into(),
        arguments: BTreeMap::new(),
    }
}

fn queue<'a>(seen: &'a mut Seen, name: &str) -> &'a mut QueueInfo {
    seen.standing.queues.iter_mut().find(|queue| queue.name == name).unwrap()
}

fn foreign_queue(seen: &mut Seen, name: &str, messages: u64) {
    let mut other = seen.standing.queues[0].clone();
    other.name = name.into();
    other.messages = Some(messages);
    seen.standing.queues.push(other);
}

fn policy(apply_to: &str, pattern: &str, key: &str, value: Value) -> Policy {
    Policy {
        name: "blanket".into(),
        pattern: pattern.into(),
        apply_to: apply_to.into(),
        definition: [(key.to_owned(), value)].into(),
        priority: 0,
    }
}

/// The verdict after `spoil`.
fn after(spoil: impl FnOnce(&mut Seen)) -> Verdict {
    let config = config();
    let mut seen = as_it_should_be(&config);
    spoil(&mut seen);
    verify(&config, &seen)
}

/// The one finding after `spoil`, with its effect in these words.
#[track_caller]
fn one(weight: Severity, effect: &str, spoil: impl FnOnce(&mut Seen)) -> Finding {
    let verdict = after(spoil);
    let [finding] = verdict.findings.as_slice() else { panic!("{:#?}", verdict.findings) };
    assert_eq!(finding.weight, weight, "{finding:#?}");
    assert!(finding.effect.contains(effect), "{finding:#?}");
    assert_eq!(verdict.has_faults(), weight == Severity::Fault);
    finding.clone()
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
fn a_policy_on_a_queue_says_what_it_does() {
    const LEVEL: &str = "^dormouse.v1.level.01.001";
    const DUE: &str = "v1.due$";
    let minute = json!(60_000);
    for (pattern, key, value, weight, effect) in [
        (LEVEL, "message-ttl", json!(3_999), Severity::Fault, "leave this queue early"),
        (DUE, "message-ttl", minute.clone(), Severity::Fault, "dropped for good"),
        ("dlq$", "message-ttl", minute.clone(), Severity::Note, "dropped for good"),
        ("intake$", "message-ttl", minute.clone(), Severity::Note, "a detour, no loss"),
        (LEVEL, "expires", minute.clone(), Severity::Fault, "for 1m"),
        (LEVEL, "max-length", json!(5), Severity::Fault, "rejects"),
        (LEVEL, "max-length-bytes", json!(5), Severity::Fault, "rejects"),
        (LEVEL, "overflow", json!("drop-head"), Severity::Fault, "at-most-once"),
        (LEVEL, "overflow", json!("reject-publish-dlx"), Severity::Fault, "at-most-once"),
        (LEVEL, "dead-letter-routing-key", json!("x"), Severity::Fault, "lose the keys"),
        (DUE, "dead-letter-exchange", json!("x"), Severity::Note, "removes nothing"),
        (DUE, "delivery-limit", json!(20), Severity::Fault, "dropped for good"),
        (DUE, "delivery-limit", json!(-1), Severity::Fault, "dropped for good"),
        (LEVEL, "delivery-limit", json!(20), Severity::Fault, "ahead of time"),
        (DUE, "consumer-timeout", json!(1_000), Severity::Fault, "closes the worker's channel"),
        (DUE, "federation-upstream-set", json!("all"), Severity::Note, "moved here"),
    ] {
        let stored = policy("queues", pattern, key, value.clone());
        let by_rule = one(weight, effect, |seen| seen.policies = Ok(vec![stored.clone()]));
        assert!(by_rule.problem.starts_with("policy \"blanket\" sets"), "{by_rule:#?}");
        // an operator's, as the broker reports it for the queue, when nobody may read it
        let by_report = one(weight, effect, |seen| {
            for queue in &mut seen.standing.queues {
                if regex::Regex::new(pattern).unwrap().is_match(&queue.name) {
                    queue.operator_policy = Some("blanket".into());
                    queue.effective_policy = Some(stored.definition.clone());
                }
            }
            let why = "user \"shop\" may not see it".to_owned();
            seen.operator_policies = Err(why);
        });
        assert!(
            by_report.problem.starts_with("operator policy \"blanket\" sets"),
            "{by_report:#?}"
        );
        assert_eq!((by_rule.effect, by_rule.objects), (by_report.effect, by_report.objects));
    }
}

#[test]
fn a_harmless_policy_is_not_mentioned() {
    for (apply_to, pattern, key, value) in [
        // not below ours
        ("queues", "level.01.001", "message-ttl", json!(4_000)),
        ("queues", "level", "overflow", json!("reject-publish")),
        // on a queue without a DLX there is nothing to downgrade
        ("queues", "due$", "overflow", json!("drop-head")),
        // ours wins
        ("queues", "level", "dead-letter-exchange", json!("x")),
        ("queues", "level", "dead-letter-strategy", json!("at-most-once")),
        // into a fanout exchange, where keys do not count
        ("queues", "level.00", "dead-letter-routing-key", json!("x")),
        ("exchanges", "dormouse.delay", "alternate-exchange", json!("x")),
        ("queues", ".*", "queue-mode", json!("lazy")),
        ("queues", ".*", "ha-mode", json!("all")),
        ("classic_queues", ".*", "expires", json!(1)),
        ("streams", ".*", "max-length-bytes", json!(1)),
        ("queues", "^other", "expires", json!(1)),
    ] {
        let stored = policy(apply_to, pattern, key, value);
        let verdict = after(|seen| seen.policies = Ok(vec![stored]));
        assert_eq!(verdict, Verdict::default(), "{apply_to} {pattern} {key}");
    }
}

/// Of each kind one policy applies: the one of the highest priority.
#[test]
fn a_policy_of_a_higher_priority_shadows_a_harmful_one() {
    let harmful = policy("all", ".*", "expires", json!(60_000));
    let shadow = Policy {
        name: "ours".into(),
        priority: 5,
        ..policy("queues", "^dormouse\\.", "queue-mode", json!("default"))
    };
    let verdict = after(|seen| seen.policies = Ok(vec![harmful.clone(), shadow.clone()]));
    assert_eq!(verdict, Verdict::default());
    // an operator policy is not shadowed by a user's
    let verdict = after(|seen| {
        seen.policies = Ok(vec![shadow]);
        seen.operator_policies = Ok(vec![harmful]);
    });
    assert!(verdict.has_faults());
}

/// The broker reports an effective policy for some seconds after it is gone.
#[test]
fn a_deleted_policy_is_not_a_fault() {
    let verdict = after(|seen| {
        let due = queue(seen, "dormouse.v1.due");
        due.policy = Some("gone".into());
        due.effective_policy = Some([("expires".to_owned(), json!(1))].into());
    });
    assert_eq!(verdict, Verdict::default());
}

#[test]
fn one_finding_tells_all_queues_that_a_policy_applies_to() {
    let blanket = policy("all", ".*", "expires", json!(60_000));
    let finding = one(Severity::Fault, "deletes", |seen| seen.policies = Ok(vec![blanket]));
    assert_eq!(finding.objects.len(), Topology::of(&config()).queues.len());
}

#[test]
fn federation_of_an_exchange_of_ours_duplicates() {
    let federation = policy("exchanges", "level", "federation-upstream-set", json!("all"));
    one(Severity::Fault, "delivered on both sides", |seen| seen.policies = Ok(vec![federation]));
}

#[test]
fn a_pattern_that_cannot_be_judged_is_said() {
    let odd = policy("all", "^(?!dormouse)", "expires", json!(1));
    let verdict = after(|seen| seen.policies = Ok(vec![odd]));
    assert!(!verdict.has_faults());
    assert!(verdict.unseen[0].contains("(?!dormouse)"), "{verdict:#?}");
}

#[test]
fn a_foreign_binding_says_where_messages_go() {
    for (source, destination, weight, effect) in [
        ("dormouse.v1.level.01", "tap", Severity::Fault, "there twice"),
        ("dormouse.v1.due", "tap", Severity::Fault, "there twice"),
        ("dormouse.v1.level.01", "dormouse.v1.level.00.001.1s", Severity::Fault, "astray"),
        ("orders", "dormouse.v1.level.00.001.1s", Severity::Fault, "no stamp"),
        ("orders", "dormouse.intake", Severity::Note, "scheduled"),
        ("orders", "dormouse.retry", Severity::Fault, "was not dead-lettered"),
        ("dormouse.delay", "tap", Severity::Note, "a copy of every message"),
        ("dormouse.dlq", "audit", Severity::Note, "a copy of every message"),
        (
            "dormouse.v1.level.01",
            "dormouse.v1.level.01.009.36s",
            Severity::Note,
            "nothing is planned",
        ),
    ] {
        let finding = one(weight, effect, |seen| {
            seen.standing.bindings.push(bound(source, destination, "4s"));
        });
        assert_eq!(finding.objects, [format!("binding {source} → {destination} (4s)")]);
    }
    one(Severity::Fault, "was not dead-lettered", |seen| {
        let destination_type = DestinationType::Exchange;
        let binding = bound("orders", "dormouse.retry", "");
        seen.standing.bindings.push(BindingInfo { destination_type, ..binding });
    });
    let finding = one(Severity::Fault, "406", |seen| {
        let retry = seen.standing.exchanges.iter_mut().find(|found| found.name == "dormouse.retry");
        retry.unwrap().internal = false;
    });
    assert!(finding.problem.contains("internal"), "{finding:#?}");
    // a client's exchange in front of a delay exchange is a publisher like any other
    let verdict = after(|seen| {
        let destination_type = DestinationType::Exchange;
        seen.standing
            .bindings
            .push(BindingInfo { destination_type, ..bound("orders", "dormouse.delay", "#") });
    });
    assert_eq!(verdict, Verdict::default());
}

#[test]
fn other_versions_and_orphans_are_told_by_what_sleeps_there() {
    one(Severity::Note, "still wakes", |seen| {
        foreign_queue(seen, "dormouse.v1.level.09.001.9d", 5);
    });
    one(Severity::Fault, "never delivered", |seen| foreign_queue(seen, "dormouse.v2.due", 5));
    assert_eq!(after(|seen| foreign_queue(seen, "dormouse.v2.due", 0)), Verdict::default());
    one(Severity::Fault, "never delivered", |seen| {
        foreign_queue(seen, "dormouse.intake.old.delay", 1);
    });
    one(Severity::Note, "none while it is empty", |seen| {
        foreign_queue(seen, "dormouse.intake.old.delay", 0);
    });
    // somebody else's
    let verdict = after(|seen| {
        foreign_queue(seen, "dormousey.v2.due", 5);
        foreign_queue(seen, "shop.orders", 5);
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

/// A client's queue, with an argument or a policy that dead-letters it.
fn client_queue(name: &str, kind: &str, arguments: Value, policy: Value) -> QueueInfo {
    QueueInfo {
        effective_policy: Some(serde_json::from_value(policy).unwrap()),
        ..serde_json::from_value(json!({
            "name": name, "type": kind, "durable": true, "arguments": arguments,
        }))
        .unwrap()
    }
}

#[test]
fn dead_letters_that_multiply_or_go_round_are_told() {
    let argument = json!({ "x-dead-letter-exchange": "dormouse.retry" });
    let policy = json!({ "overflow": "reject-publish-dlx" });
    let found = one(Severity::Fault, "leaves a copy", |seen| {
        seen.standing.queues.push(client_queue("mail", "classic", argument.clone(), policy));
    });
    assert_eq!(found.objects, ["queue mail"]);
    assert!(found.remedy.contains("reject-publish"));
    let found = one(Severity::Note, "come back at once", |seen| {
        let policy = json!({ "dead-letter-exchange": "dormouse.delay" });
        seen.standing.queues.push(client_queue("mail", "quorum", json!({}), policy));
    });
    assert!(found.remedy.contains("dormouse.retry"), "{}", found.remedy);
    let well = after(|seen| {
        let policy =
            json!({ "overflow": "reject-publish", "dead-letter-exchange": "dormouse.delay" });
        // the argument beats the policy's exchange, and the policy the argument's overflow
        let both = json!({ "x-dead-letter-exchange": "dormouse.retry", "x-overflow": "reject-publish-dlx" });
        seen.standing.queues.push(client_queue("mail", "classic", both, policy));
        seen.standing.queues.push(client_queue("log", "classic", argument, json!({})));
    });
    assert_eq!(well, Verdict::default());
}

#[test]
fn a_target_exchange_that_does_not_exist_is_a_note() {
    let mut config = config();
    let name = "orders.delay".to_owned();
    config.delay_exchanges.push(DelayExchange { name, target_exchange: "orders".into() });
    let verdict = verify(&config, &as_it_should_be(&config));
    assert_eq!(verdict.findings[0].objects, ["target exchange orders"]);
    assert!(!verdict.has_faults());
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
