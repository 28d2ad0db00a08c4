//! `dormouse run`: a worker and what else it may do, as a service.

use std::io::IsTerminal;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::named::Named;
use super::{Exit, Failure};
use crate::config::{Config, Log, LogFormat};
#[cfg(feature = "otel")]
use crate::otel;
use crate::service::{self, Ports};
use crate::{http, worker};

#[derive(Debug, Args)]
pub struct Run {
    /// What this process does: worker, index, api, webhooks. It is the key service.roles.
    #[arg(long, value_name = "ROLE,…")]
    roles: Option<String>,
}

impl Run {
    /// What it sets.
    pub fn settings(&self) -> Vec<String> {
        self.roles.iter().map(|roles| format!("service.roles={roles}")).collect()
    }
}

pub async fn run(config: Config) -> Result<Exit, Failure> {
    log(&config.log)?;
    let stop = stop_on_signal()?;
    let health = worker::Health::default();
    let ports = Ports::take(&config)?;
    let clock = worker::Clock::default();
    let server = http::serve(http::listen(config.http.listen)?, health.clone(), clock.clone())?;
    #[cfg(feature = "otel")]
    let traces = otel::Exporting::begin().map_err(|error| Failure::usage(error.to_string()))?;
    let ended = service::run(config, ports, clock, health, stop).await;
    #[cfg(feature = "otel")]
    if let Some(traces) = traces {
        traces.end().await;
    }
    server.abort();
    ended?;
    Ok(Exit::Done)
}

/// Logs to standard error. The client library is silent: it logs bodies of returned messages, and its
/// errors are ours to handle, logged once where that happens.
pub fn log(log: &Log) -> Result<(), Failure> {
    let filter = format!("lapin=off,{}", log.filter);
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| Failure::usage(format!("log.filter: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let installed = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().map_event_format(Named).try_init(),
    };
    installed.map_err(|error| Failure::failed(error.to_string()))
}

/// Cancelled by the first SIGTERM or SIGINT; a second one ends the process.
pub fn stop_on_signal() -> Result<CancellationToken, Failure> {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    #[expect(
        clippy::disallowed_methods,
        reason = "lives as long as the process, and holds nothing"
    )]
    tokio::task::spawn(async move {
        let mut signals = 0;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            signals += 1;
            stopped.cancel();
            if signals > 1 {
                std::process::exit(130);
            }
        }
    });
    Ok(stop)
}
