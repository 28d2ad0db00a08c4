//! Messages with one header each, as any AMQP client would publish them, and when they arrive.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use dormouse::amqp::{Connection, Consumer, Outcome};
use dormouse::cli::paragraph::paragraph;
use dormouse::config::Config;
use dormouse::message::{Message, Properties, Value, as_integer, as_text};
use dormouse::schedule::{UnixMs, headers};
use dormouse::topology;
use dormouse::worker::Clock;

/// Delays in ms. The last stretch of each is exact, however many levels the rest takes.
const DELAYS_MS: [u64; 11] =
    [300, 700, 1_000, 1_900, 2_500, 4_200, 6_000, 7_777, 9_300, 12_000, 15_000];
/// These are asked for as a moment, not as a delay.
const MOMENTS_MS: [u64; 3] = [1_500, 5_000, 10_500];
pub const QUEUE: &str = "demo.mailbox";
const MISSING_QUEUE: &str = "demo.nowhere";

struct Asked {
    delay_ms: u64,
    how: &'static str,
    published: UnixMs,
}

/// Publishes them all, and prints each as it arrives.
pub async fn show(config: &Config, clock: &Clock) -> anyhow::Result<()> {
    let (layout, names) = (topology::layout(config), topology::Names::of(config));
    let connection = Connection::open(&config.broker, "demo").await?;
    dormouse::amqp::declare::declare(&connection, &mailbox()).await?;
    let mut arrivals = Consumer::open(&connection).await?;
    arrivals.consume(QUEUE, 100).await?;
    arrivals.consume(&names.dlq(), 10).await?;

    let mut publisher = connection.publisher::<()>().await?;
    let mut asked = HashMap::new();
    let messages =
        DELAYS_MS.map(|ms| (ms, "delay")).into_iter().chain(MOMENTS_MS.map(|ms| (ms, "moment")));
    for (number, (delay_ms, how)) in messages.enumerate() {
        let published = clock.now();
        let (name, value) = match how {
            "delay" => (headers::X_DELAY, delay_ms as i64),
            _ => (headers::DELIVERY_TIME, (published.0 + delay_ms) as i64),
        };
        publisher.publish(message(QUEUE, number, name, value), ());
        asked.insert(number.to_string(), Asked { delay_ms, how, published });
    }
    publisher.publish(message(MISSING_QUEUE, asked.len(), headers::X_DELAY, 2_000), ());
    let expected = asked.len() + 1;
    let mut confirmed = 0;
    while confirmed < expected {
        for ((), outcome) in publisher.settled().await {
            anyhow::ensure!(outcome == Outcome::Confirmed, "{outcome:?}");
            confirmed += 1;
        }
    }
    println!(
        "{confirmed} messages published with one header each, and confirmed. One of them is for a\n\
         queue that is missing.\n"
    );
    println!("{:>10} {:<8} {:>4} {:>12} {:>13}", "asked", "as", "hops", "actual", "lateness");

    let mut lateness_ms = Vec::new();
    let mut dead = None;
    while lateness_ms.len() + usize::from(dead.is_some()) < expected {
        waiting(expected - lateness_ms.len() - usize::from(dead.is_some()));
        let arrived = arrivals.next().await?;
        let now = clock.now();
        arrivals.settle(arrived.tag);
        arrivals.flush().await?;
        if arrived.queue == 1 {
            dead = Some(arrived.message);
            continue;
        }
        let number = String::from_utf8_lossy(&arrived.message.body).into_owned();
        let Asked { delay_ms, how, published } = &asked[&number];
        let actual_ms = now.0 - published.0;
        let late_ms = actual_ms as i64 - *delay_ms as i64;
        let hops = layout.plan(Duration::from_millis(*delay_ms)).hops;
        clear_waiting();
        println!(
            "{:>8.3} s {how:<8} {hops:>4} {:>10.3} s {late_ms:>10} ms",
            *delay_ms as f64 / 1e3,
            actual_ms as f64 / 1e3
        );
        lateness_ms.push(late_ms);
    }
    clear_waiting();
    summary(&mut lateness_ms);
    if let Some(dead) = dead {
        in_the_dlq(&dead);
    }
    connection.close().await;
    Ok(())
}

/// A consumer's own queue: an ordinary one, nothing of Dormouse's.
fn mailbox() -> topology::Topology {
    let queue = topology::Queue { name: QUEUE.into(), arguments: Default::default() };
    topology::Topology { exchanges: Vec::new(), queues: vec![queue], bindings: Vec::new() }
}

fn message(to: &str, number: usize, header: &str, value: i64) -> Message {
    let mut properties = Properties {
        delivery_mode: Some(2),
        message_id: Some(number.to_string().into()),
        ..Default::default()
    };
    properties.headers.insert(header.into(), Value::LongLongInt(value));
    Message {
        exchange: "dormouse.delay".into(),
        routing_key: to.into(),
        properties,
        body: number.to_string().into(),
    }
}

fn waiting(left: usize) {
    if std::io::stdout().is_terminal() {
        print!("  … {left} to come");
        let _ = std::io::stdout().flush();
    }
}

fn clear_waiting() {
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[K");
    }
}

fn summary(lateness_ms: &mut [i64]) {
    lateness_ms.sort_unstable();
    let early = lateness_ms.iter().filter(|late| **late < 0).count();
    let (median, max) = (lateness_ms[lateness_ms.len() / 2], lateness_ms[lateness_ms.len() - 1]);
    println!(
        "\nLateness, from publish to consumer: median {median} ms, at most {max} ms; {early} early."
    );
}

fn in_the_dlq(dead: &Message) {
    let header = |name: &str| dead.properties.headers.get(name);
    let words = |name: &str| header(name).and_then(as_text).unwrap_or("?").to_owned();
    let attempts = header(headers::ATTEMPT).and_then(as_integer).unwrap_or(0);
    println!(
        "\nThe one for {:?} went to the DLQ after {attempts} attempts:",
        words(headers::ROUTING_KEY)
    );
    let why = format!("{}: {}", words(headers::REASON), words(headers::DETAIL));
    println!("{}", paragraph("  ", &why, 2));
}
