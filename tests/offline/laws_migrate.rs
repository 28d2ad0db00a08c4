//! Moving in: what is read of others' messages and queues, and what is to be so. Pure.

use std::collections::BTreeMap;

use dormouse::config::{Config, DelayExchange};
use dormouse::inventory::{BindingInfo, DestinationType, ExchangeInfo, Inventory, QueueInfo};
use dormouse::message::{Message, Properties, text};
use dormouse::operate::migrate::{Foreign, State, Stay, TtlQueue, read_celery, steps_of_plugin};
use dormouse::schedule::UnixMs;
use serde_json::json;

fn exchange(name: &str, kind: &str, arguments: serde_json::Value) -> ExchangeInfo {
    let value = json!({
        "name": name, "type": kind, "durable": true, "auto_delete": false, "internal": false,
        "arguments": arguments, "messages_delayed": 3,
    });
    serde_json::from_value(value).unwrap()
}

fn binding(source: &str, kind: DestinationType, destination: &str, key: &str) -> BindingInfo {
    BindingInfo {
        source: source.into(),
        destination: destination.into(),
        destination_type: kind,
        routing_key: key.into(),
        arguments: BTreeMap::new(),
    }
}

#[test]
fn a_celery_task_says_when_it_is_due_and_where_it_goes() {
    let standing = Inventory {
        bindings: vec![
            binding("celery_delayed_delivery", DestinationType::Exchange, "mail", "#.mail.urgent"),
            binding("mail", DestinationType::Queue, "mail-queue", "#.mail.urgent"),
            binding("celery_delayed_delivery", DestinationType::Exchange, "two", "#.two"),
            binding("two", DestinationType::Queue, "one", "#.two"),
            binding("two", DestinationType::Queue, "other", "#.two"),
        ],
        ..Inventory::default()
    };
    let digits = "0.".repeat(27) + "1";
    let task = |key: &str, eta: Option<&str>| {
        let headers = eta.map(|eta| ("eta".into(), text(eta)));
        let properties =
            Properties { headers: headers.into_iter().collect(), ..Properties::default() };
        let routing_key = format!("{digits}.{key}");
        let message = Message { routing_key, properties, ..Message::default() };
        read_celery(&standing, message, "id".into(), UnixMs(0))
    };
    for (eta, due_ms) in [
        ("2027-01-01T09:00:00.123456+00:00", 1_798_794_000_124),
        ("2027-01-01T10:00:00+01:00", 1_798_794_000_000),
        ("2027-01-01T09:00:00", 1_798_794_000_000),
    ] {
        match task("mail.urgent", Some(eta)) {
            Foreign::Moves(delayed) => {
                assert_eq!(delayed.stamp.due, UnixMs(due_ms), "{eta}");
                assert_eq!(delayed.stamp.target.routing_key, "mail-queue");
                assert_eq!(delayed.stamp.target.exchange, "");
            }
            Foreign::Stays(why) => panic!("{eta}: {why}"),
        }
    }
    assert_eq!(task("mail.urgent", None), Foreign::Stays(Stay::NoDueTime));
    assert_eq!(task("mail.urgent", Some("tomorrow")), Foreign::Stays(Stay::NoDueTime));
    let leads = |key: &str, queues| Foreign::Stays(Stay::Target { key: key.into(), queues });
    assert_eq!(task("two", Some("2027-01-01T09:00:00")), leads("two", 2));
    assert_eq!(task("nobody", Some("2027-01-01T09:00:00")), leads("nobody", 0));
    let stranger = Message { routing_key: "0.1.mail".into(), ..Message::default() };
    let read = read_celery(&standing, stranger, "id".into(), UnixMs(0));
    assert_eq!(read, Foreign::Stays(Stay::Stranger));
}

fn queue(arguments: serde_json::Value, policy: serde_json::Value) -> QueueInfo {
    let value = json!({
        "name": "waiting", "type": "classic", "durable": true, "arguments": arguments,
        "effective_policy_definition": policy,
    });
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_ttl_queue_is_told_by_arguments_and_policy_and_never_early() {
    assert_eq!(TtlQueue::of(&queue(json!({ "x-message-ttl": 5 }), json!({}))), None);
    let found = TtlQueue::of(&queue(
        json!({ "x-message-ttl": 60_000, "x-dead-letter-exchange": "" }),
        json!({ "message-ttl": 30_000, "dead-letter-routing-key": "inbox" }),
    ));
    let found = found.unwrap();
    assert_eq!((found.ttl.as_millis(), found.routing_key.as_deref()), (30_000, Some("inbox")));
    let read = |timestamp, expiration: Option<&str>| {
        let expiration = expiration.map(Into::into);
        let properties = Properties { timestamp, expiration, ..Properties::default() };
        found.read(Message { properties, ..Message::default() }, "id".into(), UnixMs(0))
    };
    assert_eq!(read(None, None), Foreign::Stays(Stay::NoDueTime));
    for (expiration, due_ms) in [(None, 40_999), (Some("1000"), 11_999), (Some("90000"), 40_999)] {
        match read(Some(10), expiration) {
            Foreign::Moves(delayed) => {
                assert_eq!(delayed.stamp.due, UnixMs(due_ms));
                assert_eq!(delayed.stamp.target.routing_key, "inbox");
                assert_eq!(delayed.stamp.set_aside.expiration, None, "used up by waiting");
            }
            Foreign::Stays(why) => panic!("{why}"),
        }
    }
}

/// An exchange of the plugin's with its bindings, as its definitions list it; then what takes its place.
#[test]
fn the_plugins_exchanges_get_ordinary_ones_beside_them() {
    let mut config = Config::default();
    let to_mail = binding("orders", DestinationType::Queue, "mail", "placed.#");
    let mut standing = Inventory {
        exchanges: vec![exchange(
            "orders",
            "x-delayed-message",
            json!({ "x-delayed-type": "topic" }),
        )],
        bindings: vec![to_mail.clone()],
        ..Inventory::default()
    };
    let (steps, missing) = steps_of_plugin(&config, &standing);
    assert_eq!(steps.iter().filter(|step| step.state == State::ToDo).count(), 2, "{steps:#?}");
    assert!(steps.iter().any(|step| step.state == State::Waits(3)));
    assert_eq!(missing.topology.exchanges[0].name, "orders.now");
    assert_eq!(missing.bindings[0].0.source, "orders.now");

    // applied, and configured
    standing.exchanges.push(exchange("orders.now", "topic", json!({})));
    standing.exchanges.push(exchange("orders.delay", "topic", json!({})));
    standing.bindings.push(BindingInfo { source: "orders.now".into(), ..to_mail });
    let target_exchange = "orders.now".to_owned();
    config.delay_exchanges.push(DelayExchange { name: "orders.delay".into(), target_exchange });
    let (steps, missing) = steps_of_plugin(&config, &standing);
    assert!(missing.topology.exchanges.is_empty() && missing.bindings.is_empty());
    assert_eq!(steps.iter().filter(|step| step.state == State::Done).count(), 3, "{steps:#?}");

    // something of that name that is not what is needed
    standing.exchanges[1].kind = "fanout".into();
    let (steps, _) = steps_of_plugin(&config, &standing);
    let refused = |state: &State| matches!(state, State::Yours(what) if what.contains("fanout"));
    assert!(refused(&steps[0].state), "{:?}", steps[0]);
    assert_eq!(steps_of_plugin(&config, &Inventory::default()).0, []);
}
