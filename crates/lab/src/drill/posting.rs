//! The publisher that has no AMQP: each message of a load is a request to one of two doors, at its moment. Half of the
//! callers ask once, and take what they are told. The others repeat the request with its `Idempotency-Key`, at the other
//! door, until they are told 201.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dormouse_core::message::{ShortString, Value};
use dormouse_core::schedule::UnixMs;
use serde_json::{Map, Value as Json, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::load::{Ask, Load, Order};
use super::recorder::{SentBook, Start, now_ms};
use crate::dev::http::ask;

/// As a load balancer does, half of the requests go to each.
pub type Doors = [SocketAddr; 2];

/// What callers were told, beside what is in the book of what was sent.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Requests that were answered with 201.
    pub taken: u64,
    /// That nobody took, or that were answered with 503: nothing was published.
    pub refused: u64,
    /// Without an answer, or with one that says that nobody knows: the numbers of their messages.
    pub unknown: BTreeSet<u32>,
    /// Answers that nothing in a drill explains.
    pub strange: Vec<String>,
}

/// What a request came to.
enum Outcome {
    Taken,
    Refused,
    Unknown,
    Strange(String),
}

/// `guest:guest`.
const GUEST: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Before a request is repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// Posts each message of the load at its moment, until each caller is content.
pub async fn post(
    doors: Doors,
    load: Arc<Load>,
    start: Start,
    book: SentBook,
    told: Arc<Mutex<Told>>,
) {
    let mut callers = JoinSet::new();
    for number in 0..load.orders.len() {
        let (load, book, told) = (load.clone(), book.clone(), told.clone());
        sleep_until(start.at + load.orders[number].after).await;
        callers.spawn(async move {
            let order = &load.orders[number];
            let caller =
                Caller { order, request: request(order, start.ms), book: &book, told: &told };
            caller.call(doors, load.seed).await;
        });
    }
    while callers.join_next().await.is_some() {}
}

struct Caller<'a> {
    order: &'a Order,
    request: String,
    book: &'a SentBook,
    told: &'a Mutex<Told>,
}

impl Caller<'_> {
    async fn call(&self, doors: Doors, seed: u64) {
        let (number, half) = (self.order.number, self.order.number / 2);
        let key = format!("drill-{seed}-{number}");
        let asks_once = number % 2 == 0;
        for door in doors.iter().cycle().skip(half as usize % doors.len()) {
            self.begins();
            let outcome = self.ask(*door, &key).await;
            let is_taken = matches!(outcome, Outcome::Taken);
            self.ends(&outcome, asks_once);
            if is_taken || asks_once {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn ask(&self, door: SocketAddr, key: &str) -> Outcome {
        // nobody is there, so nobody has it
        let Ok(stream) = TcpStream::connect(door).await else { return Outcome::Refused };
        let headers = [("Authorization", GUEST), ("Idempotency-Key", key)];
        let answer = ask(stream, "POST", "/v1/messages", &headers, self.request.as_bytes());
        let Ok(Ok(answer)) = timeout(PATIENCE, answer).await else { return Outcome::Unknown };
        match answer.status {
            201 => Outcome::Taken,
            503 => Outcome::Refused,
            // the same request is still under way there
            409 | 504 => Outcome::Unknown,
            status => Outcome::Strange(format!("answered {status}: {}", answer.body)),
        }
    }

    fn begins(&self) {
        let mut book = self.book.lock().expect("no panic while noting a publish");
        let sent = book.entry(self.order.number).or_default();
        if sent.times == 0 {
            sent.first_ms = now_ms();
        }
        sent.times += 1;
    }

    fn ends(&self, outcome: &Outcome, asks_once: bool) {
        let mut told = self.told.lock().expect("no panic while noting an answer");
        let mut book = self.book.lock().expect("no panic while noting a confirm");
        let sent = book.entry(self.order.number).or_default();
        match outcome {
            Outcome::Taken => {
                told.taken += 1;
                sent.confirmed_ms = Some(now_ms());
            }
            Outcome::Refused => {
                told.refused += 1;
                sent.denied = asks_once;
            }
            Outcome::Unknown => {
                told.unknown.insert(self.order.number);
            }
            Outcome::Strange(what) => told.strange.push(what.clone()),
        }
    }
}

/// Leaves of a message what a request can say, and of its time a moment.
pub fn over_http(order: &mut Order) {
    if order.ask == Ask::AtOnce {
        order.ask = Ask::At(order.after);
    }
    let properties = &mut order.message.properties;
    properties.delivery_mode = Some(2);
    properties.content_encoding = None;
    properties.timestamp = None;
    properties.user_id = None;
    properties.app_id = None;
    properties.cluster_id = None;
    let is_said = |name: &ShortString, value: &mut Value| {
        let inside = name.as_str().starts_with("x-");
        !inside && matches!(value, Value::LongString(_) | Value::Boolean(_))
    };
    properties.headers.retain(is_said);
}

/// The JSON of a message, which says all of it.
fn request(order: &Order, start_ms: u64) -> String {
    let (message, properties) = (&order.message, &order.message.properties);
    let Ask::At(offset) = order.ask else { unreachable!("a request names a moment") };
    let text = |value: &Option<ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let headers: Map<String, Json> = properties
        .headers
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Boolean(value) => json!(value),
                value => json!(dormouse_core::message::as_text(value)),
            };
            (name.as_str().to_owned(), value)
        })
        .collect();
    let expires_in = text(&properties.expiration).and_then(|ms| ms.parse::<u64>().ok());
    json!({
        "target": { "queue": message.routing_key },
        "at": UnixMs(start_ms + offset.as_millis() as u64).to_string(),
        "body_base64": BASE64_STANDARD.encode(&message.body),
        "message_id": text(&properties.message_id),
        "content_type": text(&properties.content_type),
        "correlation_id": text(&properties.correlation_id),
        "reply_to": text(&properties.reply_to),
        "type": text(&properties.kind),
        "priority": properties.priority,
        "expires_in": expires_in,
        "headers": headers,
    })
    .to_string()
}
