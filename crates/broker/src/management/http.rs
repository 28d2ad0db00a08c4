//! The only file that speaks HTTP. In: a request. Out: the body of a success, or the error that the
//! status stands for.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::address::Address;
use super::error::{ManagementError, remedy};

/// A broker that is there answers the handshake at once; a black hole is noticed soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A busy broker takes seconds to list thousands of queues. It is also the longest that a request
/// which nobody waits for any more keeps its thread, and so a stop of the process.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest answer that is read: about 100,000 queues.
const ANSWER_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// The longest part of a foreign text that an error repeats.
const REASON_LIMIT_CHARACTERS: usize = 500;

/// Connections to one address, shared by all clones.
#[derive(Debug, Clone)]
pub(super) struct Http {
    agent: Agent,
    address: Address,
}

/// A success.
struct Answer {
    body: Vec<u8>,
    date: Option<String>,
}

impl Http {
    pub(super) fn authorization(&self) -> &str {
        self.address.authorization()
    }

    pub(super) fn new(address: Address, ca_file: Option<&Path>) -> Result<Self, ManagementError> {
        let roots = ca_file.map_or(Ok(RootCerts::WebPki), read_authorities)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // credentials go to the address the operator named, not by way of HTTP_PROXY
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(REQUEST_TIMEOUT))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Self { agent: config.into(), address })
    }

    /// Sends the request once, on a thread that may block.
    pub(super) async fn send(&self, request: Request) -> Result<Vec<u8>, ManagementError> {
        self.on_a_thread(move |http| http.exchange(&request).map(|answer| answer.body)).await
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Self) -> Result<T, ManagementError> + Send + 'static,
    ) -> Result<T, ManagementError> {
        let http = self.clone();
        match tokio::task::spawn_blocking(move || ask(http)).await {
            Ok(result) => result,
            Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Err(self.unreachable("the process is stopping")),
        }
    }

    /// Sends the request once. The answer's header `Date`, if it has one.
    pub(super) async fn date(&self, request: Request) -> Result<Option<String>, ManagementError> {
        self.on_a_thread(move |http| http.exchange(&request).map(|answer| answer.date)).await
    }

    fn exchange(&self, request: &Request) -> Result<Answer, ManagementError> {
        let url = format!("{}{}", self.address.base(), request.path);
        let authorization = ("authorization", self.address.authorization());
        let answer = match &request.method {
            Method::Get => self.agent.get(url).header(authorization.0, authorization.1).call(),
            Method::Delete => {
                self.agent.delete(url).header(authorization.0, authorization.1).call()
            }
            Method::Put(body) => self
                .agent
                .put(url)
                .header(authorization.0, authorization.1)
                .content_type("application/json")
                .send(body.to_string()),
        };
        let mut answer = answer.map_err(|error| self.unreachable(error))?;
        let body = answer.body_mut().with_config().limit(ANSWER_LIMIT_BYTES).read_to_vec();
        let body = body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => self.unexpected(request, error),
            error => self.unreachable(error),
        })?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        let date = date.map(str::to_owned);
        let body = self.check(request, answer.status().as_u16(), body)?;
        Ok(Answer { body, date })
    }

    /// What RabbitMQ's status codes mean here. A missing tag or permission is a 401 on every version.
    fn check(
        &self,
        request: &Request,
        status: u16,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, ManagementError> {
        let address = self.address.base().to_owned();
        let user = self.address.user().to_owned();
        let request_line = request.to_string();
        match status {
            200..=299 => Ok(body),
            401 | 403 => {
                let reason = reason(&body);
                let remedy = remedy(&reason);
                let request = request_line;
                Err(ManagementError::Unauthorised { address, user, request, reason, remedy })
            }
            404 => Err(ManagementError::NotFound { address, user, request: request_line }),
            400..=499 => {
                let reason = reason(&body);
                Err(ManagementError::Refused { address, request: request_line, reason })
            }
            status => Err(self.unexpected(request, format!("status {status}, {}", reason(&body)))),
        }
    }

    fn unreachable(&self, reason: impl ToString) -> ManagementError {
        let address = self.address.base().to_owned();
        ManagementError::Unreachable { address, reason: reason.to_string() }
    }

    /// An answer that is no RabbitMQ answer to this request, and what in it could not be read.
    pub(super) fn unexpected(&self, request: &Request, reason: impl ToString) -> ManagementError {
        ManagementError::UnexpectedAnswer {
            address: self.address.base().to_owned(),
            request: request.to_string(),
            reason: reason.to_string(),
        }
    }
}

/// One request. Shows its method and path, never its body, which may hold a password.
#[derive(Clone)]
pub(super) struct Request {
    method: Method,
    /// Encoded, from `/api` on, with the query.
    path: String,
}

#[derive(Clone)]
enum Method {
    Get,
    Put(Value),
    Delete,
}

impl Request {
    pub(super) fn get(path: String) -> Self {
        Self { method: Method::Get, path }
    }

    pub(super) fn put(path: String, body: Value) -> Self {
        Self { method: Method::Put(body), path }
    }

    pub(super) fn delete(path: String) -> Self {
        Self { method: Method::Delete, path }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Get => "GET",
            Method::Put(_) => "PUT",
            Method::Delete => "DELETE",
        };
        // the query only picks columns
        write!(f, "{method} {}", self.path.split('?').next().unwrap_or_default())
    }
}

/// RabbitMQ's words for a refusal: the `reason` of its JSON answer, else the beginning of the body.
fn reason(body: &[u8]) -> String {
    let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let reason = match answer.get("reason") {
        Some(Value::String(reason)) => reason.clone(),
        Some(other) => other.to_string(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    reason.trim().chars().take(REASON_LIMIT_CHARACTERS).collect()
}

fn read_authorities(path: &Path) -> Result<RootCerts, ManagementError> {
    let unusable = |reason: String| ManagementError::CaFile { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let mut authorities = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(authority) =
            item.map_err(|error| unusable(error.to_string()))?
        {
            authorities.push(authority);
        }
    }
    if authorities.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&authorities))
}
