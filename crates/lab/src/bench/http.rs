//! Scheduling over HTTP beside the library, which does without: how many a second, one by one and in batches, and
//! whether what is due in one second is out in one second.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dormouse_broker::amqp::{AmqpError, Connection, Consumer};
use dormouse_broker::management::{Management, ManagementError};
use dormouse_client::{Client, ClientError, Message, Scheduled, Target, Timestamp};
use dormouse_core::clock::now_us;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::environment::Environment;
use super::record::histogram;
use super::report::Percentiles;

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct OverHttp {
    pub rows: Vec<Called>,
    pub due: Due,
}

/// One way to schedule, for a time.
#[derive(Debug, Clone, Serialize)]
pub struct Called {
    pub how: &'static str,
    /// Callers that wait for one answer each.
    pub callers: usize,
    pub messages_a_call: usize,
    pub per_second: f64,
    pub answer_ms: Percentiles,
    pub refused: u64,
}

/// What was due within one second.
#[derive(Debug, Clone, Serialize)]
pub struct Due {
    pub messages: u64,
    /// From when the first was due to the last arrival.
    pub seconds: f64,
    pub early: u64,
    pub missing: u64,
}

/// Why it cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum OverHttpError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the API cannot be asked: {0}")]
    Api(#[from] io::Error),
    #[error(transparent)]
    Management(#[from] ManagementError),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the API answered {status}: {body}")]
    Refused { status: u16, body: String },
}

const ALONE: usize = 64;
const WITH_BATCHES: usize = 8;
const BATCH: usize = 500;
const DUE: u64 = 3_500;
/// Long enough for the calls that schedule them.
const DUE_IN_MS: u64 = 5_000;
const DEADLINE: Duration = Duration::from_secs(60);
/// What callers schedule is due so much later: nothing is delivered meanwhile.
const LATER: Duration = Duration::from_secs(3_600);

/// The library and the API at `api` by turns, `length` each, in the virtual host of the `environment`, which has a
/// worker.
pub async fn over_http(
    environment: &Environment,
    api: SocketAddr,
    length: Duration,
) -> Result<OverHttp, OverHttpError> {
    let client = Arc::new(Client::open(environment.config.clone()).await?);
    let management = Management::of(&environment.config.broker)?;
    let door = Door { api, authorization: management.authorization().to_owned() };
    let target = environment.target.clone();
    // first: behind a flood it would wait until that is taken in
    let due = due(environment, &door).await?;
    let mut rows = Vec::new();
    for (callers, each) in [(ALONE, 1), (WITH_BATCHES, BATCH)] {
        let library =
            async |_| Ok(Library { client: client.clone(), target: target.clone(), each });
        rows.push(called("library", callers, each, length, library).await?);
        let http = async |_| door.caller(&target, each).await;
        rows.push(called("HTTP", callers, each, length, http).await?);
    }
    if let Some(client) = Arc::into_inner(client) {
        client.close().await;
    }
    Ok(OverHttp { rows, due })
}

/// One who calls again and again.
trait Calls: Send + 'static {
    /// How many were refused.
    fn call(&mut self) -> impl Future<Output = Result<u64, OverHttpError>> + Send;
}

struct Library {
    client: Arc<Client>,
    target: String,
    each: usize,
}

impl Calls for Library {
    async fn call(&mut self) -> Result<u64, OverHttpError> {
        let scheduled = (0..self.each).map(|_| {
            let message = Message::json(&order()).expect("it is JSON");
            Scheduled::after(Target::queue(&self.target), message, LATER)
        });
        let outcomes = self.client.scheduler().publish_batch(scheduled).await;
        Ok(outcomes.iter().filter(|outcome| outcome.is_err()).count() as u64)
    }
}

/// What is in a message of either.
fn order() -> Json {
    json!({ "order": 7, "name": "somebody", "total": "12.50" })
}

struct Door {
    api: SocketAddr,
    authorization: String,
}

struct OverOneConnection {
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
    path: &'static str,
    authorization: String,
    body: Bytes,
}

impl Door {
    async fn caller(&self, target: &str, each: usize) -> Result<OverOneConnection, OverHttpError> {
        let message = json!({ "target": { "queue": target }, "delay": "1h", "body": order() });
        let body = match each {
            1 => message,
            _ => Json::Array(vec![message; each]),
        };
        self.connect(&body).await
    }

    async fn connect(&self, body: &Json) -> Result<OverOneConnection, OverHttpError> {
        let stream = TcpStream::connect(self.api).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Ok(OverOneConnection {
            sender,
            _connection: tasks,
            path: if body.is_array() { "/v1/messages:batch" } else { "/v1/messages" },
            authorization: self.authorization.clone(),
            body: body.to_string().into(),
        })
    }
}

impl Calls for OverOneConnection {
    async fn call(&mut self) -> Result<u64, OverHttpError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.path)
            .header("host", "bench")
            .header(AUTHORIZATION, &self.authorization)
            .body(Full::new(self.body.clone()))
            .expect("its parts are good");
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(0);
        }
        let body = String::from_utf8_lossy(&body).chars().take(300).collect();
        Err(OverHttpError::Refused { status: status.as_u16(), body })
    }
}

async fn called<C: Calls>(
    how: &'static str,
    callers: usize,
    messages_a_call: usize,
    length: Duration,
    open: impl AsyncFn(usize) -> Result<C, OverHttpError>,
) -> Result<Called, OverHttpError> {
    let mut opened = Vec::new();
    for number in 0..callers {
        opened.push(open(number).await?);
    }
    let began = Instant::now();
    let mut calling = JoinSet::new();
    for mut caller in opened {
        calling.spawn(async move {
            let (mut answers_us, mut refused) = (histogram(), 0);
            while began.elapsed() < length {
                let asked = Instant::now();
                refused += caller.call().await?;
                answers_us.saturating_record(asked.elapsed().as_micros() as u64);
            }
            Ok::<_, OverHttpError>((answers_us, refused))
        });
    }
    let (mut answers_us, mut refused): (Histogram<u64>, u64) = (histogram(), 0);
    while let Some(ended) = calling.join_next().await {
        let (more_us, more) = ended.expect("it does not panic")?;
        answers_us.add(more_us).expect("histograms of one kind");
        refused += more;
    }
    let messages = answers_us.len() * messages_a_call as u64 - refused;
    Ok(Called {
        how,
        callers,
        messages_a_call,
        per_second: messages as f64 / began.elapsed().as_secs_f64(),
        answer_ms: Percentiles::of(&answers_us),
        refused,
    })
}

/// Schedules [`DUE`] messages over HTTP, evenly due within one second, and takes them.
async fn due(environment: &Environment, door: &Door) -> Result<Due, OverHttpError> {
    let connection = Connection::open(&environment.config.broker, "dormouse bench").await?;
    let mut consumer = Consumer::open(&connection).await?;
    consumer.consume(&environment.target, 1_000).await?;
    let first_ms = now_us() / 1_000 + DUE_IN_MS;
    let due_ms = |number: u64| first_ms + number * 1_000 / DUE;
    let messages: Vec<Json> = (0..DUE)
        .map(|number| {
            let at = Timestamp::from_millisecond(due_ms(number) as i64).expect("near now");
            json!({
                "target": { "queue": environment.target }, "at": at.to_string(),
                "body": { "due_ms": due_ms(number) }
            })
        })
        .collect();
    for batch in messages.chunks(BATCH) {
        door.connect(&Json::Array(batch.to_vec())).await?.call().await?;
    }
    let (mut arrived, mut early, mut last_us) = (0, 0, first_ms * 1_000);
    while arrived < DUE {
        let Ok(delivered) = timeout(DEADLINE, consumer.next()).await else { break };
        let delivered = delivered?;
        last_us = now_us();
        let body: Json = serde_json::from_slice(&delivered.message.body).unwrap_or_default();
        early += u64::from(body["due_ms"].as_u64().is_some_and(|due_ms| last_us < due_ms * 1_000));
        arrived += 1;
        consumer.settle(delivered.tag);
        consumer.flush().await?;
    }
    connection.close().await;
    let seconds = last_us.saturating_sub(first_ms * 1_000) as f64 / 1e6;
    Ok(Due { messages: DUE, seconds, early, missing: DUE - arrived })
}
