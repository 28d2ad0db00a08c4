//! Drill 19: what strangers did, under load. They publish from the first instant, while two workers with
//! few channels declare; RabbitMQ refuses publishes because of the message: outside, at its target, and
//! inside, on its way through our own queues; and queues refuse for a while, the DLQ among them.

use std::time::Duration;

use dormouse_broker::amqp::Connection;
use dormouse_broker::amqp::declare::declare;
use dormouse_broker::amqp::inspector::Inspector;
use dormouse_broker::management::{Management, Policy, UserLimit};
use dormouse_core::message::text;
use dormouse_core::topology::{Argument, Arguments, Binding, Destination, Exchange, Kind, Queue};
use serde_json::json;

use super::error::DrillError;
use super::load::{Ask as Delay, DELAY_EXCHANGE, Ends, Load, Order, Shape};
use super::recorder::now_ms;
use super::run::Run;
use super::site::{Site, targets, until};
use super::{Finding, Options, Outcome};
use crate::dev::WorkerProcess;

const SETTINGS: [(&str, &str); 8] = [
    (
        "delay_exchange",
        "dormouse.delay=,missing.delay=missing,inner.delay=inner,topics.delay=topics",
    ),
    // no more than will wait for the DLQ
    ("intake.prefetch", "30"),
    // each look at a bad target uses up a channel number, and one worker has few
    ("delivery.avoid_failed_exchange", "5s"),
    // 0.2, 0.4, … 6.4 s: longer than anything refuses
    ("attempts.max", "7"),
    ("attempts.jitter", "0"),
    ("retry.max_retries", "3"),
    ("retry.initial_backoff", "200ms"),
    ("retry.reasons", "rejected,maxlen"),
];

/// A full target that dead-letters what it refuses leaves one copy for each attempt and each retry, and the
/// last of either. A channel that is closed over another message may make two of it.
const COPIES: Ends =
    Ends::Copied { reasons: &["nacked", "maxlen", "retries-exhausted"], at_most: 2 * (7 + 3 + 1) };

/// Targets: full for a while; full for good, with the retry exchange behind it; for messages that are too
/// large for a while; and behind the one routing key that their exchange takes.
const FULL: &str = "full";
const LOOPING: &str = "looping";
const LARGE: &str = "large";
const GOOD_KEY: &str = "topics.good";

const MALFORMED: &str = "malformed-delay";

/// Delay exchange, routing key, and why it ends in the DLQ, if it does.
const STRANGE: [(&str, &str, &str); 11] = [
    (DELAY_EXCHANGE, "anything", MALFORMED),
    (DELAY_EXCHANGE, FULL, ""),
    ("missing.delay", "anything", "exchange-not-found"),
    (DELAY_EXCHANGE, "anything", MALFORMED),
    (DELAY_EXCHANGE, "anything", MALFORMED),
    ("inner.delay", "anything", "access-refused"),
    (DELAY_EXCHANGE, "anything", MALFORMED),
    (DELAY_EXCHANGE, LOOPING, ""),
    (DELAY_EXCHANGE, "anything", MALFORMED),
    ("topics.delay", "topics.bad", "access-refused"),
    ("topics.delay", GOOD_KEY, ""),
];

/// One of so many messages is one of these.
const STRANGE_ONE_IN: usize = 3;

/// What would be published in this time comes in a tenth of it: a first declare does not take long.
const RUSH: Duration = Duration::from_millis(1_500);

/// Of those after the rush so many are large, and wake one after the other until publishes end.
const LARGE_ONE_IN: u32 = 8;

/// Then come the strange ones: by then the other delay exchanges stand too.
const STRANGE_FROM: Duration = Duration::from_secs(4);

/// Publishes go on for so long while one thing after the other is refused.
const GOING_ON: Duration = Duration::from_secs(15);

/// Queues refuse for so long.
const REFUSING: Duration = Duration::from_secs(5);

/// The longest pause between two attempts with these settings, and some more.
const LAST_PAUSE: Duration = Duration::from_secs(8);

const CATCHING_UP: Duration = Duration::from_secs(2);

const LARGEST_OF_OTHERS_BYTES: usize = 50_000;
const LARGE_BYTES: usize = 200_000;
/// RabbitMQ takes no larger ones for a while, and none above the other number before and after.
const LIMITS_BYTES: [usize; 2] = [100_000, 16 << 20];

/// One user may have few channels in all; of the other's, each connection agrees on few. With 16 it would
/// be made anew after every few refusals, which doubles messages (docs/operations.md, Size).
const USERS: [(&str, &str); 2] = [("few", ""), ("some", "?channel_max=32")];
const CHANNELS: u32 = 20;

pub async fn came(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open_bare(options, &SETTINGS).await?;
    let management = Management::new(&site.node().management_uri(), None)?;
    let connection = Connection::open(&site.config.broker, "drill").await?;
    prepare(&site, &management, &connection).await?;
    let (load, strange) = load(options);
    let mut outcome = Outcome { faults: strange, ..Outcome::default() };

    // doors: two workers declare for the first time
    let mut hands =
        USERS.iter().map(|user| start(&mut site, user)).collect::<Result<Vec<_>, _>>()?;
    let mut inspector = Inspector::open(&connection).await?;
    until("the delay exchange stands", async || Ok(inspector.exchange(DELAY_EXCHANGE).await?))
        .await?;
    let mut run = Run::publish(&site, load);
    run.fault_begins();
    for queue in options.queues().into_iter().chain([LARGE, GOOD_KEY]) {
        run.also_consume(&site, queue);
    }
    until_run(&hands).await?;
    run.fault_ends(CATCHING_UP);

    // large ones sleep by now; on 3.10 only new channels know the limit, so the workers get some
    run.at(STRANGE_FROM).await;
    let limited_ms = now_ms();
    limit_size(&site, LIMITS_BYTES[0]).await?;
    for user in &USERS {
        let status = hands.remove(0).stop().await?;
        outcome.expect(status.success(), || Finding::new("a worker did not stop in order", status));
        hands.push(start(&mut site, user)?);
        until_run(&hands).await?;
    }
    until("a worker keeps what nobody takes", async || {
        Ok(hands[0].metric("dormouse_kept_messages").await > Some(0.0))
    })
    .await?;
    run.fault_begins();
    for hand in hands {
        hand.stop().await?;
    }
    limit_size(&site, LIMITS_BYTES[1]).await?;
    hands = USERS.iter().map(|user| start(&mut site, user)).collect::<Result<_, _>>()?;
    until_run(&hands).await?;
    run.fault_ends(CATCHING_UP);
    run.fault_of_queue(LARGE, limited_ms, CATCHING_UP);

    // nobody reads these two as long as they refuse
    let dlq = site.names().dlq();
    let pattern = format!("^({FULL}|{})$", dlq.replace('.', r"\."));
    management.put_policy("/", &no_room(pattern)).await?;
    until("readiness tells that the DLQ refuses", async || {
        let told = hands[0].get("/readyz").await;
        Ok(told.is_some_and(|(_, told)| told.contains("DLQ")))
    })
    .await?;
    tokio::time::sleep(REFUSING).await;
    management.delete_policy("/", "no room").await?;
    run.also_consume(&site, FULL);
    run.also_consume(&site, &dlq);
    run.fault_of_queue(FULL, run.start.ms, LAST_PAUSE);

    outcome.verdict = run.end().await?;
    outcome.notes.push(format!("{strange} messages of strangers among the others"));
    let twice = outcome.verdict.duplicates.ours();
    outcome.expect(twice <= u64::from(strange), || {
        Finding::new("more twice by workers than strangers' messages", twice)
    });
    outcome.expect_never_early(&hands).await;
    connection.close().await;
    Ok(outcome)
}

/// A worker of one of the users, on its way.
fn start(site: &mut Site, (user, query): &(&str, &str)) -> Result<WorkerProcess, DrillError> {
    let uri = site.node().amqp_uri().replace("guest:guest", &format!("{user}:{user}"));
    site.start(&[("broker.uri", &format!("{uri}/%2f{query}"))])
}

/// Not until they are ready: that they are not while something is refused.
async fn until_run(hands: &[WorkerProcess]) -> Result<(), DrillError> {
    for hand in hands {
        let runs = async || Ok(hand.metric("dormouse_connected").await == Some(1.0));
        until("a worker runs", runs).await?;
    }
    Ok(())
}

async fn limit_size(site: &Site, max_bytes: usize) -> Result<(), DrillError> {
    // the first is read by 3.10, the other by 4.x
    let set = format!(
        "application:set_env(rabbit, max_message_size, {max_bytes}), \
         persistent_term:put(max_message_size, {max_bytes})."
    );
    Ok(site.node().ctl(&["eval", &set]).await.map(drop)?)
}

fn no_room(pattern: String) -> Policy {
    Policy {
        name: "no room".into(),
        pattern,
        apply_to: "queues".into(),
        definition: [("max-length".to_owned(), json!(0))].into(),
        priority: 1,
    }
}

/// Users, exchanges and queues as strangers have them.
async fn prepare(
    site: &Site,
    management: &Management,
    connection: &Connection,
) -> Result<(), DrillError> {
    let exchange = |name: &str, internal| Exchange {
        name: name.to_owned(),
        kind: Kind::Topic,
        internal,
        arguments: Arguments::new(),
    };
    let text = |text: &str| Argument::Text(text.to_owned());
    let mut full = targets(&[FULL]).queues.remove(0);
    full.arguments.insert("x-overflow", text("reject-publish"));
    let looping = Queue {
        name: LOOPING.into(),
        arguments: Arguments::from([
            ("x-max-length", Argument::Number(0)),
            ("x-overflow", text("reject-publish-dlx")),
            ("x-dead-letter-exchange", Argument::Text(site.names().retry())),
        ]),
    };
    let mut topology = targets(&[&site.options().queues()[..], &[LARGE, GOOD_KEY]].concat());
    topology.queues.extend([full, looping]);
    topology.exchanges = vec![exchange("inner", true), exchange("topics", false)];
    topology.bindings = vec![Binding {
        source: "topics".into(),
        destination: Destination::Queue(GOOD_KEY.into()),
        routing_key: "#".into(),
    }];
    declare(connection, &topology).await?;
    for (user, _) in USERS {
        management.put_user(user, user, &[]).await?;
        management.put_permissions("/", user, ".*", ".*", ".*").await?;
        management.put_topic_permissions("/", user, "topics", r"^topics\.good$", ".*").await?;
    }
    management.put_user_limit(USERS[0].0, UserLimit::Channels, CHANNELS).await?;
    Ok(())
}

/// An ordinary load that begins in a rush, some of it addressed anew. And how many those are.
fn load(options: &Options) -> (Load, u32) {
    let span = options.duration / 2 + GOING_ON;
    let messages = (f64::from(options.rate) * span.as_secs_f64()) as u32;
    let largest = LARGEST_OF_OTHERS_BYTES;
    let mut load = Load::new(options.seed, &Shape { span, messages, largest, ..options.shape() });
    let mut strange = 0;
    let later = load.orders.iter_mut().filter(|order| order.after >= STRANGE_FROM);
    for order in later.step_by(STRANGE_ONE_IN) {
        address(order, STRANGE[strange as usize % STRANGE.len()]);
        strange += 1;
    }
    for order in load.orders.iter_mut().filter(|order| order.after < STRANGE_FROM) {
        if order.after < RUSH {
            order.after /= 10;
        } else if order.number % LARGE_ONE_IN == 0 {
            let part = order.after.div_duration_f64(STRANGE_FROM);
            order.ask = Delay::Relative(span.mul_f64(part));
            address(order, (DELAY_EXCHANGE, LARGE, ""));
            strange += 1;
        }
    }
    (load, strange)
}

fn address(order: &mut Order, (exchange, key, reason): (&str, &str, &'static str)) {
    let message = &mut order.message;
    message.exchange = exchange.to_owned();
    message.routing_key = key.to_owned();
    message.properties.headers.remove("CC");
    if key == LARGE {
        message.body = vec![0; LARGE_BYTES].into();
    }
    if reason == MALFORMED {
        order.ask = Delay::AtOnce; // but for the header that it comes with
        message.properties.headers.insert("x-delay".into(), text("5s"));
    }
    order.ends = match (key, reason) {
        (LOOPING, _) => COPIES,
        (_, "") => Ends::In([key.to_owned()].into()),
        (_, reason) => Ends::Dead(reason),
    };
}
