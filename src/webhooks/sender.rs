//! Sends one request, and says what came of it.

use std::error::Error;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::address::Allowed;
use super::connector::{ConnectError, GuardedConnector};
use super::outcome::{Outcome, retry_after};
use super::signature::{Secret, signatures};
use crate::schedule::UnixMs;
use crate::worker::Clock;

/// So much of an answer is read, to use its connection again; one that goes on costs the connection.
const ANSWER_BYTES: usize = 16 * 1024;
const REST_WITHIN: Duration = Duration::from_secs(1);
/// Connections to one host that wait for the next request.
const IDLE: usize = 16;
const IDLE_FOR: Duration = Duration::from_secs(60);
const AGENT: &str = concat!("dormouse/", env!("CARGO_PKG_VERSION"));

/// What is sent.
#[derive(Debug)]
pub struct Webhook<'a> {
    pub to: Uri,
    /// The same at each attempt.
    pub id: &'a str,
    pub attempt: u32,
    pub content_type: Option<&'a str>,
    pub body: Bytes,
    pub secrets: &'a [Secret],
    /// Of the whole request.
    pub timeout: Duration,
}

/// What came of a request.
#[derive(Debug)]
pub struct Sent {
    pub outcome: Outcome,
    /// The first bytes of the answer.
    pub answer: Vec<u8>,
}

/// Connections to all endpoints.
#[derive(Debug, Clone)]
pub struct Sender {
    client: Client<HttpsConnector<GuardedConnector>, Full<Bytes>>,
    clock: Clock,
}

impl Sender {
    /// Connects to what `allowed` says at that moment.
    ///
    /// Errors: this machine has no certificates that TLS could trust.
    pub fn new(allowed: Arc<RwLock<Allowed>>, clock: Clock) -> std::io::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(GuardedConnector::new(allowed));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE)
            .pool_idle_timeout(IDLE_FOR)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(connector);
        Ok(Self { client, clock })
    }

    /// Sends it once, and waits for the answer.
    pub async fn send(&self, webhook: Webhook<'_>) -> Sent {
        let within = webhook.timeout;
        let unanswered = |outcome| Sent { outcome, answer: Vec::new() };
        let request = match self.request(webhook) {
            Ok(request) => request,
            Err(error) => {
                let why = format!("no request can be made of it: {error}");
                return unanswered(Outcome::Failed(why));
            }
        };
        match timeout(within, self.client.request(request)).await {
            Ok(Ok(response)) => {
                let outcome = answered(&response, self.clock.now());
                // the status is all that counts; whatever the rest is, it does not take longer
                let mut answer = Vec::new();
                let reading = read(response.into_body(), &mut answer);
                let _ = timeout(within.min(REST_WITHIN), reading).await;
                Sent { outcome, answer }
            }
            Ok(Err(error)) => unanswered(failed(&error)),
            Err(_) => {
                let why = format!("no answer within {} s", within.as_secs());
                unanswered(Outcome::Failed(why))
            }
        }
    }

    fn request(&self, webhook: Webhook<'_>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let Webhook { to, id, attempt, content_type, body, secrets, .. } = webhook;
        let seconds = self.clock.now().0 / 1_000;
        let signature = signatures(secrets, id, seconds, &body);
        let mut request = Request::post(to)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, content_type.unwrap_or("application/octet-stream"))
            // hyper leaves it out if there is no body, and then a receiver may wait for one, or refuse
            .header(CONTENT_LENGTH, body.len())
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("dormouse-attempt", attempt);
        if !signature.is_empty() {
            request = request.header("webhook-signature", signature);
        }
        request.body(Full::new(body))
    }
}

/// To its end, or as much as is read of an answer.
async fn read(mut body: Incoming, into: &mut Vec<u8>) {
    while into.len() < ANSWER_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        let part = frame.into_data().unwrap_or_default();
        into.extend_from_slice(&part[..part.len().min(ANSWER_BYTES - into.len())]);
    }
}

fn answered<Body>(response: &Response<Body>, now: UnixMs) -> Outcome {
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let now = jiff::Timestamp::from_millisecond(now.0 as i64).unwrap_or_default();
    let after = after.and_then(|value| retry_after(value, now));
    Outcome::Answered { status: response.status().as_u16(), retry_after: after }
}

fn failed(error: &hyper_util::client::legacy::Error) -> Outcome {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(ConnectError::Forbidden { .. }) = cause.downcast_ref() {
            return Outcome::Forbidden(cause.to_string());
        }
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    Outcome::Failed(words)
}
