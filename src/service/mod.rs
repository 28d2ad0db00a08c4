//! A process and its roles: one stop signal for all of them. When one ends by itself, so do the others.

#[cfg(feature = "index")]
mod questions;

use std::net::TcpListener;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api, ApiError, Server};
use crate::config::{Config, Role};
#[cfg(feature = "console")]
use crate::console;
#[cfg(feature = "index")]
use crate::index;
use crate::webhooks::{self, LiveEndpoints, WebhookError};
use crate::worker::{self, Clock, Health, WorkerError};

/// Why a process ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[cfg(feature = "index")]
    #[error(transparent)]
    Index(#[from] index::IndexError),
    #[cfg(not(feature = "index"))]
    #[error("this program was built without the feature `index`, which the role index needs")]
    NoIndex,
    #[cfg(feature = "console")]
    #[error(transparent)]
    ProxyLogin(#[from] console::ProxyLoginError),
    #[cfg(not(feature = "console"))]
    #[error("this program was built without the feature `console`, which the role console needs")]
    NoConsole,
    #[error(transparent)]
    Webhooks(#[from] WebhookError),
    #[error("a role of the service ended unexpectedly: {0}")]
    Role(#[from] tokio::task::JoinError),
}

type Roles = JoinSet<Result<(), ServiceError>>;

/// What the roles need that can be in somebody else's hands: taken before anything is begun.
pub struct Ports {
    api: Option<Server>,
}

impl Ports {
    /// Those of the configuration.
    ///
    /// Errors: one is taken, or a certificate cannot be read.
    pub fn take(config: &Config) -> Result<Self, ServiceError> {
        let api = config.service.answers_http().then(|| Server::bind(config));
        Ok(Self { api: api.transpose()? })
    }

    /// The API's is one that somebody has taken already.
    pub fn with_api(listener: Option<TcpListener>, config: &Config) -> Result<Self, ServiceError> {
        let api = listener.map(|listener| Server::on(listener, config));
        Ok(Self { api: api.transpose()? })
    }
}

/// Of the roles that answer HTTP.
#[cfg(feature = "console")]
fn routes(api: &Api) -> Result<api::Router, ServiceError> {
    let service = &api.config.service;
    let of_api = service.has(Role::Api).then(|| api::router(api));
    Ok(match (service.has(Role::Console), of_api) {
        (true, of_api) => console::router(api, of_api)?,
        (false, of_api) => of_api.unwrap_or_default(),
    })
}

/// Of the role that answers HTTP.
#[cfg(not(feature = "console"))]
fn routes(api: &Api) -> Result<api::Router, ServiceError> {
    if api.config.service.has(Role::Console) {
        return Err(ServiceError::NoConsole);
    }
    Ok(api::router(api))
}

/// Does all that `config.service` names until `stop`, and ends each role in order, within `stop.grace`.
///
/// Errors: the first role's that ended by itself.
pub async fn run(
    config: Config,
    ports: Ports,
    clock: Clock,
    health: Health,
    stop: CancellationToken,
) -> Result<(), ServiceError> {
    let endpoints = endpoints(&config).await?;
    let mut roles = Roles::new();
    if config.service.has(Role::Worker) {
        let run = worker::run(config.clone(), clock.clone(), health.clone(), stop.clone());
        roles.spawn(async { Ok(run.await?) });
    } else {
        // what it has to be connected for, it connects to when it is asked
        health.set_ready_without_worker();
    }
    #[cfg(feature = "index")]
    if config.service.has(Role::Index) {
        let run = index::run(config.clone(), clock.clone(), stop.clone());
        roles.spawn(async { Ok(run.await?) });
    }
    #[cfg(not(feature = "index"))]
    if config.service.has(Role::Index) {
        return Err(ServiceError::NoIndex);
    }
    if let Some(endpoints) = &endpoints {
        send_webhooks(&mut roles, &config, endpoints, &clock, &stop);
    }
    if let Some(server) = ports.api {
        #[cfg(feature = "index")]
        let index = questions::answering(&config, &clock);
        #[cfg(not(feature = "index"))]
        let index = None;
        let api = api::open(config, clock, api::Beside { index, endpoints }, stop.clone())?;
        let routes = routes(&api)?;
        let serve = api::serve(api, server, routes, stop.clone());
        roles.spawn(async { Ok(serve.await?) });
    }
    let mut ended = Ok(());
    while let Some(role) = roles.join_next().await {
        let role = role.map_err(ServiceError::from).flatten();
        ended = ended.and(role);
        stop.cancel();
    }
    ended
}

/// Follows their file, and sends what is due for them if that is a role of this process.
fn send_webhooks(
    roles: &mut Roles,
    config: &Config,
    endpoints: &LiveEndpoints,
    clock: &Clock,
    stop: &CancellationToken,
) {
    let (followed, stopped) = (endpoints.clone(), stop.clone());
    roles.spawn(async move {
        tokio::select! {
            () = followed.follow() => unreachable!("it has no end"),
            () = stopped.cancelled() => Ok(()),
        }
    });
    if config.service.has(Role::Webhooks) {
        let (config, clock) = (config.clone(), clock.clone());
        let (endpoints, stop) = (endpoints.clone(), stop.clone());
        roles.spawn(async move { Ok(webhooks::run(&config, endpoints, clock, stop).await?) });
    }
}

/// What the roles that know of endpoints share: the file is read once. None if neither needs it.
///
/// Errors: it is missing where it is needed, or at fault.
async fn endpoints(config: &Config) -> Result<Option<LiveEndpoints>, WebhookError> {
    let shows = [Role::Api, Role::Console].iter().any(|role| config.service.has(*role));
    let is_known = shows && config.webhooks.file.is_some();
    if !config.service.has(Role::Webhooks) && !is_known {
        return Ok(None);
    }
    LiveEndpoints::open(config).await.map(Some)
}
