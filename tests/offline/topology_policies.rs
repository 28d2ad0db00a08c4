//! What verify says of policies and their like on exchanges and queues of ours.

use dormouse::management::Policy;
use dormouse::topology::Topology;
use dormouse::topology::finding::{Severity, Verdict};
use serde_json::json;

use crate::topology_verify::{after, config, one, policy, queue};

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
