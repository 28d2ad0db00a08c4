//! An HTTP endpoint that answers as it is told, and the dispatcher in this process.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::{Router, routing::any};
use dormouse::amqp::Connection;
use dormouse::amqp::inspector::Inspector;
use dormouse::config::Config;
use dormouse::message::{Message, text};
use dormouse::webhooks::{self, LiveEndpoints, WebhookError};
use dormouse::worker::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::*;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What came.
#[derive(Debug, Clone)]
pub struct Request {
    pub at_ms: u64,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A status, and headers.
pub type Answer = (StatusCode, Vec<(&'static str, String)>);
type Answering = Arc<dyn Fn(usize, &Request) -> Answer + Send + Sync>;

/// An endpoint on loopback.
#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    came: Arc<Mutex<Vec<Request>>>,
    answering: Answering,
}

impl Receiver {
    /// `answering` gets how many requests came before, and the request.
    pub async fn start(
        answering: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Self { address, came: <_>::default(), answering: Arc::new(answering) };
        let routes = Router::new().fallback(any(answer)).with_state(receiver.clone());
        tokio::task::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    pub fn came(&self) -> Vec<Request> {
        self.came.lock().unwrap().clone()
    }

    pub async fn until(&self, count: usize) -> Vec<Request> {
        until(&format!("{count} requests came"), async || self.came.lock().unwrap().len() >= count)
            .await;
        self.came()
    }
}

async fn answer(
    State(receiver): State<Receiver>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let request = Request { at_ms: Clock::default().now().0, path: uri.to_string(), headers, body };
    let before = {
        let mut came = receiver.came.lock().unwrap();
        came.push(request.clone());
        came.len() - 1
    };
    let (status, headers) = (receiver.answering)(before, &request);
    let mut response = (status, format!("{status} for {}", request.path)).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// The dispatcher, and the file it reads.
pub struct Dispatcher {
    pub file: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<Result<(), WebhookError>>,
}

/// A file of endpoints on loopback, with one secret each.
pub fn endpoints(all: &[(&str, &str)]) -> String {
    let mut text = "allow = [\"127.0.0.0/8\"]\n".to_owned();
    for (name, url) in all {
        text += &format!(
            "[[endpoint]]\nname = {name:?}\nurl = {url:?}\nsecrets = [{SECRET:?}]\ntimeout = \"2s\"\n"
        );
    }
    text
}

impl Dispatcher {
    pub async fn start(broker: &Broker, config: &mut Config, endpoints: &str) -> Self {
        let file = std::env::temp_dir().join(format!("{}.endpoints.toml", broker.vhost));
        fs::write(&file, endpoints).unwrap();
        config.webhooks.file = Some(file.clone());
        let stop = CancellationToken::new();
        let (config, stopped) = (config.clone(), stop.clone());
        let endpoints = LiveEndpoints::open(&config).await.unwrap();
        let run = async move {
            tokio::select! {
                ended = webhooks::run(&config, endpoints.clone(), Clock::default(), stopped) => ended,
                () = endpoints.follow() => unreachable!("it has no end"),
            }
        };
        let task = tokio::task::spawn(run);
        let connection = broker.connect().await;
        // not only stands: 3.10 shows a quorum queue before it has a leader, and three attempts meanwhile fail
        until("it consumes", async || {
            let mut inspector = Inspector::open(&connection).await.unwrap();
            inspector.queue(QUEUE).await.unwrap().is_some_and(|queue| queue.consumers > 0)
        })
        .await;
        Self { file, stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("it stops").unwrap().unwrap();
        fs::remove_file(self.file).unwrap();
    }

    /// As if its process was killed.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub const QUEUE: &str = "dormouse-webhooks";

/// For an endpoint, due after a while.
pub fn webhook(endpoint: &str, path: &str, delay_ms: i64, body: &[u8]) -> Message {
    let mut message = delayed(QUEUE, delay_ms, "");
    message.body = body.to_vec().into();
    message.properties.content_type = Some("application/json".into());
    let headers = &mut message.properties.headers;
    headers.insert(webhooks::ENDPOINT.into(), text(endpoint));
    if !path.is_empty() {
        headers.insert(webhooks::PATH.into(), text(path));
    }
    message
}

/// Bodies of what is dead, and why.
pub async fn dead(connection: &Connection, config: &Config, count: usize) -> Vec<(String, String)> {
    let dead = take_dead(connection, config, count).await;
    dead.iter().map(|message| (body(message), words(message, "x-dormouse-detail"))).collect()
}
