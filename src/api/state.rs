//! What the routes share.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use serde_json::Value as Json;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use super::auth::live::{LiveTokens, TokensError};
use super::auth::pool::Pool;
use super::check::Limits;
use super::gate::Gate;
use super::memory::Memory;
use super::problem::Problem;
use super::question::Question;
use super::watching::Watching;
use crate::config::Config;
use crate::operate::doctor::Examined;
use crate::operate::told::Telling;
use crate::operate::verify::Verified;
use crate::webhooks::{LiveEndpoints, Sender, WebhookError};
use crate::worker::Clock;

/// Questions to the broker at once: each opens a connection of its own.
const ASKING: usize = 8;

/// What is found stands no longer than this: what somebody mends shows.
const STANDS: Duration = Duration::from_secs(30);

/// Answers questions. What it cannot answer is a problem: `invalid` for a parameter, `not-found` for a message.
pub type Index = Arc<dyn Fn(Question) -> BoxFuture<'static, Result<Json, Problem>> + Send + Sync>;

/// What else this process knows, for those who ask.
#[derive(Default)]
pub struct Beside {
    /// Who knows what sleeps.
    pub index: Option<Index>,
    /// Of the webhooks.
    pub endpoints: Option<LiveEndpoints>,
}

/// What the routes share.
pub type Api = Arc<Shared>;

/// See [`Api`].
pub struct Shared {
    pub config: Config,
    pub clock: Clock,
    pub limits: Limits,
    pub pool: Pool,
    pub tokens: LiveTokens,
    pub proxies: Vec<IpNet>,
    /// Whether RabbitMQ takes this service for one of its own machine.
    pub broker_is_here: bool,
    pub memory: Memory,
    pub gate: Gate,
    pub asking: Semaphore,
    /// While one look at the DLQ is under way, another would see only the rest.
    pub dlq: Mutex<()>,
    /// What is told to those who watch.
    pub watching: Watching,
    /// What is not as it should be.
    pub verified: Telling<Verified>,
    /// What the doctor finds.
    pub examined: Telling<Examined>,
    /// Who knows what sleeps, if there is one.
    pub index: Option<Index>,
    /// The endpoints of webhooks, and what sends a test to one, if this process has the file.
    pub endpoints: Option<(LiveEndpoints, Sender)>,
    /// Ends streams.
    pub stop: CancellationToken,
}

/// Why the API cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("cannot serve the HTTP API on {address}: {problem}")]
    Listen { address: String, problem: String },
    #[error("api.cert_file or api.key_file: {0}")]
    Tls(String),
    #[error("api.tokens_file: {0}")]
    Tokens(#[from] TokensError),
    #[error("a pattern in targets.queues: {0}")]
    Pattern(#[from] regex::Error),
    #[error(transparent)]
    Webhooks(#[from] WebhookError),
}

impl Shared {
    /// Errors: the file of tokens; nothing that TLS to endpoints could trust.
    pub fn open(
        config: Config,
        clock: Clock,
        Beside { index, endpoints }: Beside,
        stop: CancellationToken,
    ) -> Result<Api, ApiError> {
        let endpoints = endpoints.map(|endpoints| {
            let sender = endpoints.sender(clock.clone())?;
            Ok::<_, WebhookError>((endpoints, sender))
        });
        Ok(Arc::new(Self {
            limits: Limits::of(&config)?,
            pool: Pool::new(config.clone()),
            tokens: LiveTokens::open(config.api.tokens_file.clone())?,
            proxies: config.api.proxies(),
            broker_is_here: config.broker.uri.iter().any(is_here),
            memory: Memory::default(),
            gate: Gate::default(),
            asking: Semaphore::new(ASKING),
            dlq: Mutex::default(),
            watching: Watching::default(),
            verified: Telling::for_at_most(STANDS),
            examined: Telling::for_at_most(STANDS),
            index,
            endpoints: endpoints.transpose()?,
            stop,
            clock,
            config,
        }))
    }

    /// Whether the file of endpoints has it, as far as this process knows that.
    pub fn has_endpoint(&self, name: &str) -> bool {
        self.endpoints.as_ref().is_none_or(|(endpoints, _)| endpoints.get(name).is_some())
    }
}

fn is_here(uri: &crate::config::Uri) -> bool {
    let url = url::Url::parse(uri.expose());
    match url.as_ref().ok().and_then(url::Url::host_str) {
        None | Some("localhost") => true,
        Some(host) => {
            let address: Result<std::net::IpAddr, _> = host.trim_matches(['[', ']']).parse();
            address.is_ok_and(|address| address.to_canonical().is_loopback())
        }
    }
}
