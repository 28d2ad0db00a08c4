//! In: a seed. Out: a load of numbered messages: when each is published, when it is due, where it has
//! to arrive, and what it looks like. Pure: the same seed gives the same load.

use std::collections::BTreeSet;
use std::time::Duration;

use dormouse_core::message::array;
use dormouse_core::message::{ByteArray, FieldTable, Headers, Message, Properties, Value, text};
use fastrand::Rng;

/// The numbered messages of one run, in the order in which they are published.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    pub seed: u64,
    pub orders: Vec<Order>,
}

/// One message, before it has a delay header.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub number: u32,
    /// When it is published, from the start of the run.
    pub after: Duration,
    pub ask: Ask,
    /// What a client publishes, but for the header that asks for the delay. Its `message_id` tells
    /// the number.
    pub message: Message,
    pub ends: Ends,
}

/// How a message says when it is due.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// `x-delay`, as one of the types that clients send.
    Delay(Duration, Dialect),
    /// `x-opt-delivery-delay`.
    Relative(Duration),
    /// `x-opt-delivery-time`, from the start of the run.
    At(Duration),
    /// No header: at once.
    AtOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Long,
    Int,
    Text,
    Double,
}

/// Where a message has to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// Once in each of these queues.
    In(BTreeSet<String>),
    /// Posted once to this endpoint of webhooks.
    Posted(&'static str),
    /// In the DLQ, for this reason.
    Dead(&'static str),
    /// In the DLQ once or more, and so often at most, each time for one of these reasons: its target
    /// refuses it, and dead-letters a copy of it too.
    Copied { reasons: &'static [&'static str], at_most: u32 },
}

/// What kind of load it is.
#[derive(Debug, Clone)]
pub struct Shape {
    pub messages: u32,
    /// Publishes are spread over this time.
    pub span: Duration,
    /// The longest delay.
    pub longest: Duration,
    /// Only absolute times and no delay at all: for a clock that is stepped.
    pub absolute: bool,
    /// Largest body, in bytes. A few are that large.
    pub largest: usize,
    /// Target queues that messages are addressed to.
    pub inboxes: Vec<String>,
    /// A queue that some messages name in `CC` beside their own.
    pub copies: String,
}

/// The exchange that everybody publishes to.
pub const DELAY_EXCHANGE: &str = "dormouse.delay";

/// Share of the messages that are large, in `CC` of a second queue, or addressed as AMQP 1.0 does.
const ONE_IN: u32 = 20;

impl Load {
    pub fn new(seed: u64, shape: &Shape) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut moments: Vec<u64> =
            (0..shape.messages).map(|_| rng.u64(0..=shape.span.as_millis() as u64)).collect();
        moments.sort_unstable();
        let orders = (0..).zip(moments).map(|(number, after_ms)| {
            let after = Duration::from_millis(after_ms);
            order(&mut rng, seed, number, after, shape)
        });
        Self { seed, orders: orders.collect() }
    }

    pub fn order(&self, number: u32) -> Option<&Order> {
        self.orders.get(number as usize).filter(|order| order.number == number)
    }

    /// The number that a message's id tells, if it is of this load.
    pub fn number(&self, message: &Message) -> Option<u32> {
        let id = message.properties.message_id.as_ref()?.as_str();
        let number = id.strip_prefix(&prefix(self.seed))?.parse().ok()?;
        self.order(number).map(|order| order.number)
    }
}

fn prefix(seed: u64) -> String {
    format!("drill-{seed}-")
}

fn order(rng: &mut Rng, seed: u64, number: u32, after: Duration, shape: &Shape) -> Order {
    let inbox = shape.inboxes[rng.usize(0..shape.inboxes.len())].clone();
    let mut ends = BTreeSet::from([inbox.clone()]);
    let mut headers = client_headers(rng);
    if rng.u32(0..ONE_IN) == 0 {
        headers.insert("CC".into(), array([shape.copies.as_bytes().into()].into_iter()));
        ends.insert(shape.copies.clone());
    }
    let properties = properties(rng, format!("{}{number}", prefix(seed)), headers);
    let message = Message {
        exchange: DELAY_EXCHANGE.into(),
        routing_key: inbox,
        properties,
        body: body(rng, shape.largest).into(),
    };
    Order { number, after, ask: ask(rng, after, shape), message, ends: Ends::In(ends) }
}

fn ask(rng: &mut Rng, after: Duration, shape: &Shape) -> Ask {
    let delay = Duration::from_millis(rng.u64(1..=shape.longest.as_millis().max(1) as u64));
    match rng.u32(0..10) {
        0 => Ask::AtOnce,
        1..=3 => Ask::At(after + delay),
        _ if shape.absolute => Ask::At(after + delay),
        4 => Ask::Relative(delay),
        5 => Ask::Delay(delay, Dialect::Text),
        6 => Ask::Delay(delay, Dialect::Double),
        7 => Ask::Delay(delay, Dialect::Int),
        _ => Ask::Delay(delay, Dialect::Long),
    }
}

/// Mostly small, some empty, a few as large as allowed.
fn body(rng: &mut Rng, largest: usize) -> Vec<u8> {
    let bytes = match rng.u32(0..50) {
        0 => 0,
        1 => largest,
        2..=4 => rng.usize(0..=largest.min(10_000)),
        _ => rng.usize(0..=largest.min(300)),
    };
    let mut body = vec![0; bytes];
    rng.fill(&mut body);
    body
}

fn client_headers(rng: &mut Rng) -> Headers {
    let mut headers = Headers::new();
    let word = word(rng);
    let mut put = |name: &str, value: Value| {
        headers.insert(name.into(), value);
    };
    if rng.bool() {
        put("trace", text(&word));
    }
    if rng.u8(0..4) == 0 {
        let mut table = FieldTable::default();
        table.insert("deep".into(), Value::LongLongInt(rng.i64(..)));
        table.insert("bytes".into(), Value::ByteArray(ByteArray::from(vec![0, 255, 7])));
        put("nested", Value::FieldTable(table));
    }
    if rng.u8(0..4) == 0 {
        put("flag", Value::Boolean(rng.bool()));
        put("small", Value::ShortShortInt(rng.i8(..)));
        put("ratio", Value::Double(f64::from(rng.i16(..)) / 8.0));
        put("when", Value::Timestamp(rng.u64(0..4_000_000_000)));
        put("none", Value::Void);
    }
    // a client that forwards what it received must not confuse anybody
    if rng.u32(0..ONE_IN) == 0 {
        put("x-dormouse-attempt", Value::LongInt(99));
        put("x-first-death-queue", text("elsewhere"));
    }
    headers
}

fn properties(rng: &mut Rng, message_id: String, headers: Headers) -> Properties {
    let mut maybe = |value: String| if rng.bool() { Some(value.as_str().into()) } else { None };
    let (content_type, content_encoding) =
        (maybe("application/octet-stream".into()), maybe("identity".into()));
    let (correlation_id, reply_to) = (maybe("correlated".into()), maybe("answers".into()));
    let (kind, app_id, cluster_id) =
        (maybe("order.placed".into()), maybe("drill".into()), maybe("c".into()));
    Properties {
        content_type,
        content_encoding,
        headers,
        delivery_mode: Some(if rng.u8(0..4) == 0 { 1 } else { 2 }),
        priority: rng.bool().then(|| rng.u8(0..10)),
        correlation_id,
        reply_to,
        // longer than any run: it counts from delivery, and no consumer is that slow
        expiration: rng.bool().then(|| rng.u32(3_600_000..7_200_000).to_string().as_str().into()),
        message_id: Some(message_id.as_str().into()),
        timestamp: rng.bool().then(|| rng.u64(1..4_000_000_000)),
        kind,
        user_id: (rng.u8(0..4) == 0).then(|| "guest".into()),
        app_id,
        cluster_id,
    }
}

fn word(rng: &mut Rng) -> String {
    (0..rng.usize(0..40)).map(|_| rng.alphanumeric()).collect()
}

impl Ends {
    /// Where it has to arrive once, each of them.
    pub fn queues<'a>(&'a self, dlq: &'a str) -> Vec<&'a str> {
        match self {
            Ends::In(queues) => queues.iter().map(String::as_str).collect(),
            Ends::Posted(endpoint) => vec![endpoint],
            Ends::Dead(_) | Ends::Copied { .. } => vec![dlq],
        }
    }
}

impl Order {
    /// The message with its delay header, for a run that started at `start_ms`.
    pub fn published(&self, start_ms: u64) -> Message {
        let mut message = self.message.clone();
        if let Some((name, value)) = self.ask.header(start_ms) {
            message.properties.headers.insert(name.into(), value);
        }
        message
    }
}

impl Ask {
    fn header(&self, start_ms: u64) -> Option<(&'static str, Value)> {
        let ms = |delay: &Duration| delay.as_millis() as i64;
        match self {
            Ask::Delay(delay, Dialect::Long) => Some(("x-delay", Value::LongLongInt(ms(delay)))),
            Ask::Delay(delay, Dialect::Int) => Some(("x-delay", Value::LongInt(ms(delay) as i32))),
            Ask::Delay(delay, Dialect::Text) => Some(("x-delay", text(&ms(delay).to_string()))),
            Ask::Delay(delay, Dialect::Double) => {
                Some(("x-delay", Value::Double(ms(delay) as f64 + 0.75)))
            }
            Ask::Relative(delay) => Some(("x-opt-delivery-delay", Value::LongLongInt(ms(delay)))),
            Ask::At(offset) => {
                let due_ms = start_ms as i64 + ms(offset);
                Some(("x-opt-delivery-time", Value::LongLongInt(due_ms)))
            }
            Ask::AtOnce => None,
        }
    }

    /// The delay asked for, counted from the publish; none if a moment was asked for.
    pub fn delay(&self) -> Option<Duration> {
        match self {
            Ask::Delay(delay, _) | Ask::Relative(delay) => Some(*delay),
            Ask::AtOnce => Some(Duration::ZERO),
            Ask::At(_) => None,
        }
    }
}
