//! The file of endpoints as it is now: read again when it changes. One that is at fault is told, and the one before
//! stays.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::sleep;
use tracing::{error, info};
use url::Url;

use super::WebhookError;
use super::address::Allowed;
use super::endpoints::{Endpoint, Endpoints};
use super::sender::Sender;
use crate::config::Config;
use crate::worker::Clock;

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(2);

/// What it says, and who answered 410 since it was read. Cheap to clone.
#[derive(Clone)]
pub struct LiveEndpoints(Arc<Shared>);

struct Shared {
    file: PathBuf,
    /// Of the broker, and of this process.
    closed: Vec<SocketAddr>,
    state: RwLock<State>,
    allowed: Arc<RwLock<Allowed>>,
}

struct State {
    text: String,
    endpoints: Endpoints,
    gone: HashSet<String>,
}

/// An endpoint of the file.
#[derive(Debug, Clone)]
pub struct Known {
    pub endpoint: Arc<Endpoint>,
    /// Why nothing is sent there, if that is so.
    pub disabled: Option<&'static str>,
}

impl LiveEndpoints {
    /// Errors: there is none, or it is at fault.
    pub async fn open(config: &Config) -> Result<Self, WebhookError> {
        let file = config.webhooks.file.clone().ok_or(WebhookError::NoFile)?;
        let (text, endpoints) = read(&file).await?;
        let closed = closed(config).await;
        let allowed = Allowed::new(endpoints.allow.clone(), closed.clone());
        let state = RwLock::new(State { text, endpoints, gone: HashSet::new() });
        Ok(Self(Arc::new(Shared { file, closed, state, allowed: RwLock::new(allowed).into() })))
    }

    /// By the name that a message gives.
    pub fn get(&self, name: &str) -> Option<Known> {
        let state = self.state();
        state.endpoints.get(name).map(|endpoint| state.known(endpoint))
    }

    /// In the order of their names.
    pub fn all(&self) -> Vec<Known> {
        let state = self.state();
        state.endpoints.all().map(|endpoint| state.known(endpoint)).collect()
    }

    /// It wants no more messages. False if that was known.
    pub fn disable(&self, name: &str) -> bool {
        self.change().gone.insert(name.to_owned())
    }

    /// Connects to what the file allows at that moment, and to nothing else.
    pub fn sender(&self, clock: Clock) -> Result<Sender, WebhookError> {
        Sender::new(self.0.allowed.clone(), clock).map_err(WebhookError::Certificates)
    }

    /// Reads it again whenever it changes. Never ends.
    pub async fn follow(&self) {
        let (file, mut told) = (&self.0.file, None);
        loop {
            sleep(LOOK).await;
            match read(file).await {
                Ok((text, _)) if text == self.state().text => told = None,
                Ok((text, endpoints)) => {
                    info!(name: "webhooks-endpoints-changed", file = %file.display(), endpoints = endpoints.all().count(), "endpoints read anew");
                    self.replace(text, endpoints);
                    told = None;
                }
                Err(error) => {
                    let words = error.to_string();
                    if told.as_ref() != Some(&words) {
                        error!(name: "webhooks-endpoints-unchanged", %error, "endpoints stay as they were");
                        told = Some(words);
                    }
                }
            }
        }
    }

    fn replace(&self, text: String, endpoints: Endpoints) {
        let allowed = Allowed::new(endpoints.allow.clone(), self.0.closed.clone());
        *self.0.allowed.write().expect("no panic while it is replaced") = allowed;
        *self.change() = State { text, endpoints, gone: HashSet::new() };
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().expect("no panic while it is replaced")
    }

    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().expect("no panic while it is replaced")
    }
}

impl State {
    fn known(&self, endpoint: &Arc<Endpoint>) -> Known {
        let disabled = match () {
            () if self.gone.contains(&endpoint.name) => Some("it answered 410"),
            () if endpoint.disabled => Some("the file of endpoints says so"),
            () => None,
        };
        Known { endpoint: endpoint.clone(), disabled }
    }
}

async fn read(file: &Path) -> Result<(String, Endpoints), WebhookError> {
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|problem| WebhookError::Unreadable { file: file.to_owned(), problem })?;
    let endpoints = Endpoints::parse(&text)
        .map_err(|faults| WebhookError::Faults { file: file.to_owned(), faults })?;
    Ok((text, endpoints))
}

/// Where the broker and this process answer: whoever may schedule a webhook must not speak to them through us.
async fn closed(config: &Config) -> Vec<SocketAddr> {
    let mut closed: Vec<SocketAddr> =
        [config.http.listen, config.api.listen].into_iter().flatten().collect();
    let broker = config.broker.uri.iter().chain(&config.broker.management_uri);
    for uri in broker.filter_map(|uri| Url::parse(uri.expose()).ok()) {
        let Some(host) = uri.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()) else {
            continue;
        };
        // 15671 and 15672: management, which is guessed beside the broker
        let usual = if uri.scheme() == "amqps" { 5671 } else { 5672 };
        let ports = [uri.port().unwrap_or(usual), 5671, 5672, 15671, 15672, 25672, 4369];
        for port in ports {
            if let Ok(addresses) = lookup_host((host.as_str(), port)).await {
                closed.extend(addresses);
            }
        }
    }
    closed
}
