//! A model of RabbitMQ's routing, without a broker: it walks delays through the topology *as data*,
//! and finds each message in the due queue, once, after exactly the planned sum of TTLs.

use std::collections::BTreeSet;
use std::time::Duration;

use dormouse::config::{Config, QueueType};
use dormouse::topology::{Argument, Destination, Kind, Names, Queue, Topology, layout};
use proptest::prelude::*;

/// A message at rest: the queue it ended in and how long it slept on the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct AtRest {
    queue: String,
    asleep: Duration,
    hops: u32,
}

/// RabbitMQ, as far as a sleeping message sees it.
pub(super) struct Model {
    pub(super) topology: Topology,
}

/// Longer than any way: a message that goes further goes in circles.
const LONGEST_WAY: u32 = 100;

impl Model {
    /// Publishes with these keys (routing key and `CC`) and follows every copy until it rests.
    fn publish(&self, exchange: &str, keys: &[String]) -> Vec<AtRest> {
        let start = AtRest { queue: String::new(), asleep: Duration::ZERO, hops: 0 };
        let mut at_rest = Vec::new();
        let mut asleep: Vec<_> =
            self.route(exchange, keys).into_iter().map(|queue| (queue, start.clone())).collect();
        while let Some((name, so_far)) = asleep.pop() {
            assert!(so_far.hops < LONGEST_WAY, "in circles through {name}");
            let queue = self.queue(&name);
            match (ttl(queue), text(queue, "x-dead-letter-exchange")) {
                // a queue with a TTL passes the message on, with all of its keys
                (Some(ttl), Some(exchange)) => {
                    assert_eq!(
                        text(queue, "x-dead-letter-routing-key"),
                        None,
                        "it would remove CC"
                    );
                    let next =
                        AtRest { queue: name, asleep: so_far.asleep + ttl, hops: so_far.hops + 1 };
                    let onward = self.route(exchange, keys);
                    asleep.extend(onward.into_iter().map(|queue| (queue, next.clone())));
                }
                (Some(_), None) => panic!("{name} drops what expires"),
                (None, _) => at_rest.push(AtRest { queue: name, ..so_far }),
            }
        }
        at_rest
    }

    /// The queues that a publish reaches, each once however many keys lead there.
    /// <https://www.rabbitmq.com/docs/sender-selected>, <https://www.rabbitmq.com/docs/ae>
    pub(super) fn route(&self, exchange: &str, keys: &[String]) -> BTreeSet<String> {
        let (mut queues, mut seen, mut exchanges) =
            (BTreeSet::new(), BTreeSet::new(), vec![exchange]);
        while let Some(name) = exchanges.pop() {
            if !seen.insert(name) {
                continue;
            }
            let found = self.topology.exchanges.iter().find(|exchange| exchange.name == name);
            let found = found.unwrap_or_else(|| panic!("no exchange {name}: the publish is lost"));
            let matches = |key: &str| match found.kind {
                Kind::Direct => keys.iter().any(|ours| ours == key),
                Kind::Fanout => true,
                Kind::Topic => key == "#",
            };
            let bound = self
                .topology
                .bindings
                .iter()
                .filter(|binding| binding.source == name && matches(&binding.routing_key));
            let mut routed = false;
            for binding in bound {
                routed = true;
                match &binding.destination {
                    Destination::Queue(queue) => drop(queues.insert(queue.clone())),
                    Destination::Exchange(exchange) => exchanges.push(exchange),
                }
            }
            match found.arguments.get("alternate-exchange") {
                Some(Argument::Text(alternate)) if !routed => exchanges.push(alternate),
                _ => assert!(routed, "{name} drops the message"),
            }
        }
        queues
    }

    fn queue(&self, name: &str) -> &Queue {
        self.topology
            .queues
            .iter()
            .find(|queue| queue.name == name)
            .unwrap_or_else(|| panic!("no queue {name}"))
    }
}

fn ttl(queue: &Queue) -> Option<Duration> {
    match queue.arguments.get("x-message-ttl")? {
        Argument::Number(ttl_ms) => Some(Duration::from_millis(u64::try_from(*ttl_ms).unwrap())),
        other => panic!("TTL {other}"),
    }
}

fn text<'a>(queue: &'a Queue, argument: &str) -> Option<&'a str> {
    match queue.arguments.get(argument)? {
        Argument::Text(text) => Some(text),
        other => panic!("{argument} is {other}"),
    }
}

fn config(unit_ms: u64, radix: u32, max_units: u64, margin_ms: u64) -> Config {
    let mut config = Config::default();
    config.topology.unit = Duration::from_millis(unit_ms);
    config.topology.radix = radix;
    config.topology.max_delay = Duration::from_millis(unit_ms * max_units);
    config.hold.margin = Duration::from_millis(margin_ms);
    config
}

/// Walks one delay; the plan says where it should come out.
fn walk(config: &Config, model: &Model, remaining: Duration) {
    let (names, layout) = (Names::of(config), layout(config));
    let plan = layout.plan(remaining);
    let keys: Vec<_> = layout.path(plan).map(|(_, key)| key.to_owned()).collect();
    let at_rest = model.publish(&names.entry(&layout, plan.entry), &keys);
    let expected = AtRest { queue: names.due(), asleep: plan.asleep, hops: plan.hops };
    assert_eq!(at_rest, [expected], "{remaining:?} with keys {keys:?}");
}

#[test]
fn every_delay_of_a_small_layout_reaches_due_once_after_exactly_its_plan() {
    for (radix, max_units) in [(2, 37), (3, 30), (4, 100), (7, 48), (16, 300)] {
        let config = config(10, radix, max_units, 0);
        let model = Model { topology: Topology::of(&config) };
        // one unit beyond the longest, too: what the levels cannot take is planned again at the end
        for units in 0..=max_units + 1 {
            walk(&config, &model, Duration::from_millis(units * 10));
            walk(&config, &model, Duration::from_millis(units * 10 + 9));
        }
    }
}

#[test]
fn the_default_layout_takes_any_delay_up_to_a_year_in_six_hops() {
    let config = Config::default();
    let model = Model { topology: Topology::of(&config) };
    let year_s = 365 * 24 * 3600;
    let sampled_s =
        (0..400).map(|step| step * (year_s / 400)).chain([1, 15, 16, 17, 255, 256, 86_400, year_s]);
    for delay_s in sampled_s {
        walk(&config, &model, Duration::from_secs(delay_s));
    }
    assert_eq!(layout(&config).levels().len(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_layout_takes_any_delay_to_due_once_after_exactly_its_plan(
        unit_ms in 1u64..100_000,
        radix in 2u32..40,
        max_units in 1u64..3_000_000,
        margin_ms in 0u64..1_000,
        share in proptest::collection::vec(0.0f64..1.1, 1..10),
    ) {
        let config = config(unit_ms, radix, max_units, margin_ms);
        let model = Model { topology: Topology::of(&config) };
        let max = config.topology.max_delay;
        for share in share {
            walk(&config, &model, max.mul_f64(share));
        }
    }

    /// Keys that no queue is bound for, as after a changed layout, end in parking: read, and planned
    /// again. Nothing is dropped at any exchange of ours.
    #[test]
    fn a_key_that_leads_nowhere_is_parked(radix in 2u32..20, key in "[a-z0-9-]{0,20}") {
        let config = config(100, radix, 5_000, 0);
        let model = Model { topology: Topology::of(&config) };
        let names = Names::of(&config);
        for level in layout(&config).levels() {
            prop_assume!(!level.keys.contains(&key));
            let at_rest = model.publish(&names.level_exchange(level), std::slice::from_ref(&key));
            prop_assert_eq!(at_rest.len(), 1);
            prop_assert_eq!(&at_rest[0].queue, &names.parking());
        }
    }
}

/// What is published to a delay exchange rests in its intake queue; unbound from it, in the queue
/// that is read as well.
#[test]
fn a_publish_to_a_delay_exchange_is_never_dropped() {
    let mut config = Config::default();
    config.delay_exchanges.push(dormouse::config::DelayExchange {
        name: "orders.delay".into(),
        target_exchange: "orders".into(),
    });
    let names = Names::of(&config);
    for delay in &config.delay_exchanges {
        let mut model = Model { topology: Topology::of(&config) };
        let queues = model.route(&delay.name, &["any.key".into()]);
        assert_eq!(queues, [names.intake(delay)].into());
        model.topology.bindings.retain(|binding| binding.source != delay.name);
        let queues = model.route(&delay.name, &["any.key".into()]);
        assert_eq!(queues, [names.expired(delay)].into());
        let expires_into = text(model.queue(&names.intake(delay)), "x-dead-letter-exchange");
        assert_eq!(expires_into, Some(names.expired(delay).as_str()));
    }
}

/// What a client's queue dead-letters rests in the retry queue, whatever its keys; with that unbound, in
/// parking, which is read too. Nobody else can publish there.
#[test]
fn a_dead_letter_is_never_dropped() {
    let config = Config::default();
    let names = Names::of(&config);
    let mut model = Model { topology: Topology::of(&config) };
    let keys = ["any.key".to_owned(), "and CC".to_owned()];
    assert_eq!(model.route(&names.retry(), &keys), [names.retry()].into());
    model.topology.bindings.retain(|binding| binding.source != names.retry());
    assert_eq!(model.route(&names.retry(), &keys), [names.parking()].into());
    for exchange in &model.topology.exchanges {
        assert_eq!(exchange.internal, exchange.name == names.retry(), "{}", exchange.name);
    }
}

/// The exchange that leads back to a queue reaches that queue and no other, whatever the keys; with the
/// queue gone it reaches none, so that the publish is returned.
#[test]
fn a_way_back_leads_to_one_queue_whatever_the_keys() {
    let names = Names::of(&Config::default());
    let topology = Topology::of(&Config::default());
    for queue in ["mail", "a.b #*", &"é".repeat(120)] {
        let exchange = names.back(queue).unwrap();
        assert!(exchange.len() <= 255 && exchange.starts_with(&names.backs()));
        assert!(!topology.has_exchange(&exchange));
        let back = dormouse::topology::back_exchange(&exchange);
        assert_eq!((back.kind, back.arguments.is_empty()), (Kind::Fanout, true));
        let model = Model {
            topology: Topology {
                exchanges: vec![back],
                bindings: vec![dormouse::topology::back_binding(&exchange, queue)],
                ..Topology::default()
            },
        };
        let keys = ["victim", "#", "dormouse.dlq", queue].map(str::to_owned);
        assert_eq!(model.route(&exchange, &keys), [queue.to_owned()].into());
    }
    assert_eq!(names.back(&"q".repeat(242)), None, "no room");
}

#[test]
fn every_exchange_but_parking_has_an_alternate_that_stands() {
    let topology = Topology::of(&Config::default());
    let parking = Names::of(&Config::default()).parking();
    for exchange in &topology.exchanges {
        match exchange.arguments.get("alternate-exchange") {
            Some(Argument::Text(alternate)) => {
                assert!(topology.has_exchange(alternate), "{alternate}")
            }
            Some(_) | None => assert_eq!(exchange.name, parking),
        }
    }
}

/// At-least-once dead-lettering needs all of these, and one limit means the same on every version.
#[test]
fn quorum_queues_carry_the_arguments_that_keep_messages() {
    let topology = Topology::of(&Config::default());
    for queue in &topology.queues {
        assert_eq!(text(queue, "x-queue-type"), Some("quorum"), "{}", queue.name);
        assert_eq!(text(queue, "x-overflow"), Some("reject-publish"), "{}", queue.name);
        assert_eq!(
            queue.arguments.get("x-delivery-limit"),
            Some(&Argument::Number(1_000_000_000)),
            "{}",
            queue.name
        );
        assert_eq!(queue.arguments.get("x-expires"), None, "{}", queue.name);
        if let Some(exchange) = text(queue, "x-dead-letter-exchange") {
            assert_eq!(
                text(queue, "x-dead-letter-strategy"),
                Some("at-least-once"),
                "{}",
                queue.name
            );
            assert!(topology.has_exchange(exchange), "{exchange}");
        }
    }
    let mut classic = Config::default();
    classic.topology.queue_type = QueueType::Classic;
    for queue in Topology::of(&classic).queues {
        assert_eq!(text(&queue, "x-queue-type"), Some("classic"));
        // RabbitMQ 3.10 refuses both there
        assert_eq!(queue.arguments.get("x-dead-letter-strategy"), None);
        assert_eq!(queue.arguments.get("x-queue-leader-locator"), None);
    }
}

#[test]
fn names_and_keys_fit_and_never_collide() {
    let topology = Topology::of(&Config::default());
    let mut names = BTreeSet::new();
    for name in topology.queues.iter().map(|queue| &queue.name) {
        assert!(name.len() <= 255 && names.insert(name), "{name}");
    }
    let mut keys = BTreeSet::new();
    for level in layout(&Config::default()).levels() {
        for key in &level.keys {
            assert!(keys.insert(key.clone()), "{key} means two levels");
        }
    }
}
