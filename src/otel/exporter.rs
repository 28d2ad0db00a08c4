//! Sends what is in the queue, some every second.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::settings::{Settings, SettingsError};
use super::span::Span;
use super::{otlp, queue};
use dormouse_broker::tell::Tell;

/// As other exporters: half a megabyte at most.
const AT_ONCE: usize = 512;
const EVERY: Duration = Duration::from_secs(1);
/// A collector is near, and answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a refusal that another try may heal.
const PAUSE: Duration = Duration::from_secs(5);
/// At the end, for what is in the queue.
const ENDING: Duration = Duration::from_secs(3);
const AGENT: &str = concat!("dormouse/", env!("CARGO_PKG_VERSION"));

/// Why no trace can be sent from the start.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("this machine has no certificates that TLS could trust: {0}")]
    Tls(#[from] std::io::Error),
}

/// What came of a batch that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    ForNow(String),
    #[error("the collector answered {0}")]
    ForGood(StatusCode),
}

/// Sends until it is ended.
pub struct Exporting {
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Exporting {
    /// By this process's variables. None: they name no collector.
    pub fn begin() -> Result<Option<Self>, ExportError> {
        let Some(settings) = Settings::of(|variable| std::env::var(variable).ok())? else {
            return Ok(None);
        };
        let exporter = Exporter::new(settings)?;
        info!(name: "traces-sent", to = %exporter.settings.uri, "traces are sent");
        let stop = CancellationToken::new();
        queue::set_sent(true);
        let mut task = JoinSet::new();
        task.spawn(exporter.run(stop.clone()));
        Ok(Some(Self { stop, task }))
    }

    /// Sends what is in the queue, within some seconds.
    pub async fn end(mut self) {
        self.stop.cancel();
        // one that panicked has said so
        let _ = timeout(ENDING, self.task.join_next()).await;
    }
}

struct Exporter {
    settings: Settings,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    instance: String,
}

impl Exporter {
    fn new(settings: Settings) -> Result<Self, ExportError> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { settings, client, instance: Uuid::now_v7().to_string() })
    }

    async fn run(self, stop: CancellationToken) {
        let mut told = Tell::default();
        let mut batch = Vec::new();
        loop {
            if batch.is_empty() {
                batch = queue::take(AT_ONCE);
            }
            let is_whole = batch.len() == AT_ONCE;
            if batch.is_empty() && stop.is_cancelled() {
                return;
            }
            let sent = if batch.is_empty() { Ok(()) } else { self.send(&batch).await };
            let given_up = queue::given_up();
            if (sent.is_err() || given_up > 0)
                && let Some(times) = told.due()
            {
                let why = sent.as_ref().err().map(ToString::to_string);
                warn!(name: "traces-not-sent", times, given_up, why, "traces cannot be sent, or not all of them; messages do not wait for it");
            }
            let pause = match sent {
                Err(Refused::ForNow(_)) => PAUSE,
                Ok(()) | Err(Refused::ForGood(_)) => {
                    batch.clear();
                    if is_whole { Duration::ZERO } else { EVERY }
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn send(&self, spans: &[Span]) -> Result<(), Refused> {
        let document = otlp::document(&self.settings, &self.instance, spans).to_string();
        let mut request = Request::post(self.settings.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT);
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        let for_now = |error: &dyn std::fmt::Display| Refused::ForNow(error.to_string());
        let request = request.body(Full::new(document.into())).map_err(|error| for_now(&error))?;
        let asked = async {
            let answer = self.client.request(request).await.map_err(|error| for_now(&error))?;
            let status = answer.status();
            // read to its end, so that the connection can be used again
            let _ = answer.into_body().collect().await;
            match status.as_u16() {
                200..=299 => Ok(()),
                429 | 502..=504 => Err(Refused::ForNow(format!("the collector answered {status}"))),
                _ => Err(Refused::ForGood(status)),
            }
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(for_now(&"it does not answer")))
    }
}
