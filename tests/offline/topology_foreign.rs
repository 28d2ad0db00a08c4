//! What verify says of what is not ours: bindings, queues of clients, targets, other layouts.

use dormouse::config::DelayExchange;
use dormouse::management::{BindingInfo, DestinationType, QueueInfo};
use dormouse::topology::finding::{Severity, Verdict};
use dormouse::topology::verify::verify;
use serde_json::{Value, json};

use crate::topology_verify::{after, as_it_should_be, bound, config, foreign_queue, one};

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
