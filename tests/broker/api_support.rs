//! The HTTP API in this process, and a client for it.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use dormouse::api::{self, Server};
use dormouse::config::Config;
use dormouse::service::{self, Ports, ServiceError};
use dormouse::worker::{Clock, Health};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::*;

/// The role api, and perhaps others, on a runtime of its own.
pub struct Api {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    task: Option<JoinHandle<Result<(), ServiceError>>>,
    runtime: Option<Runtime>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub replayed: bool,
    pub body: Value,
}

impl Answer {
    /// The end of a problem's type; empty for what is none.
    pub fn kind(&self) -> &str {
        let kind = self.body["type"].as_str().unwrap_or_default();
        kind.rsplit(':').next().unwrap_or_default()
    }

    pub fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id: {self:?}"))
    }

    /// Its status and the end of its type, for what is refused.
    #[track_caller]
    pub fn is(&self, status: u16, kind: &str) {
        assert_eq!((self.status, self.kind()), (status, kind), "{self:?}");
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert!(self.body["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{self:?}");
        assert!(!matches!(status, 429 | 503 | 504) || self.retry_after.is_some(), "{self:?}");
    }
}

impl Api {
    pub fn start(config: &Config) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), config)
    }

    pub fn on(listener: TcpListener, config: &Config) -> Self {
        let server = Server::on(listener, config).unwrap();
        let (address, stop) = (server.address().unwrap(), CancellationToken::new());
        let runtime = Runtime::new().unwrap();
        let run = api::run(config.clone(), server, Clock::default(), <_>::default(), stop.clone());
        let task = Some(runtime.spawn(async { Ok(run.await?) }));
        Self { address, stop, task, runtime: Some(runtime) }
    }

    /// All roles of the configuration.
    pub fn of_service(config: &Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let ports = Ports::with_api(Some(listener), config).unwrap();
        let runtime = Runtime::new().unwrap();
        let (clock, health) = (Clock::default(), Health::default());
        let run = service::run(config.clone(), ports, clock, health, stop.clone());
        let task = Some(runtime.spawn(run));
        Self { address, stop, task, runtime: Some(runtime) }
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        let task = self.task.take().unwrap();
        tokio::time::timeout(DEADLINE, task).await.expect("it stops").unwrap().unwrap();
    }

    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// As guest.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, GUEST, &[], &body.to_string()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, GUEST, &[], "").await
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        authorization: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(self.uri(path));
        if !authorization.is_empty() {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned()).unwrap();
        let asked = tokio::task::spawn_blocking(move || answer(request)).await;
        asked.unwrap().unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// guest:guest
pub const GUEST: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

pub fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    let pair = format!("{user}:{password}");
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair))
}

fn answer(request: http::Request<String>) -> Result<Answer, ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .new_agent();
    let mut response = agent.run(request)?;
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let (content_type, retry_after) = (header("content-type"), header("retry-after"));
    let replayed = header("idempotency-replayed").is_some();
    let text = response.body_mut().read_to_string()?;
    Ok(Answer {
        status: response.status().as_u16(),
        content_type: content_type.unwrap_or_default(),
        retry_after,
        replayed,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    })
}
