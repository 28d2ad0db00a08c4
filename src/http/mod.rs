//! `/metrics`, `/healthz`, `/readyz` and `/vitals` on one port.

pub mod connections;
mod vitals;

use std::io;
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::task::AbortHandle;
use tracing::{error, info};

use connections::Connections;
use vitals::Scrapes;

use crate::worker::{Clock, Health, LATENESS_BUCKETS_SECONDS, WorkerError, describe};

/// Takes the port, if there is to be one.
pub fn listen(at: Option<SocketAddr>) -> Result<Option<TcpListener>, WorkerError> {
    let bound = at.map(|address| TcpListener::bind(address).map_err(|error| (address, error)));
    bound.transpose().map_err(|(address, error)| failed(address.to_string())(error.to_string()))
}

fn failed(address: String) -> impl FnOnce(String) -> WorkerError {
    move |problem| WorkerError::Http { address, problem }
}

/// Installs the metrics recorder and serves. It outlives the stop signal: readiness must be seen to go
/// off, so the caller aborts the server after its last work.
///
/// Errors: the port cannot be used, or there is a recorder already.
pub fn serve(
    listener: Option<TcpListener>,
    health: Health,
    clock: Clock,
) -> Result<AbortHandle, WorkerError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &LATENESS_BUCKETS_SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(
                Matcher::Full("dormouse_hops".into()),
                &[0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 40.0],
            )
        })
        .map_err(|error| failed("metrics".into())(error.to_string()))?;
    let metrics =
        recorder.install_recorder().map_err(|error| failed("metrics".into())(error.to_string()))?;
    describe();
    let upkeep = metrics.clone();
    let routes = routes(metrics, health, clock);
    let listener = listener.map(in_the_runtime).transpose();
    let listener = listener.map_err(|error| failed("HTTP".into())(error.to_string()))?;
    #[expect(clippy::disallowed_methods, reason = "whoever serves aborts it")]
    let task = tokio::task::spawn(async move {
        let upkeep = async {
            loop {
                // histograms keep samples until somebody takes them in
                tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                upkeep.run_upkeep();
            }
        };
        let Some(listener) = listener else { return upkeep.await };
        if let Ok(address) = listener.local_addr() {
            info!(name: "http-serving", %address, "serving /metrics, /healthz, /readyz and /vitals");
        }
        let connections = Connections::new(listener, connections::MOST, connections::LIFETIME);
        tokio::select! {
            served = axum::serve(connections, routes) => if let Err(error) = served { error!(name: "http-failed", %error, "the HTTP port is gone") },
            () = upkeep => {}
        }
    });
    Ok(task.abort_handle())
}

fn in_the_runtime(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

fn routes(metrics: PrometheusHandle, health: Health, clock: Clock) -> Router {
    let ready = move || async move {
        match health.ready() {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    };
    let (scrapes, counted) = (Scrapes::default(), metrics.clone());
    let seen = scrapes.clone();
    let scraped = move || async move {
        scrapes.note();
        metrics.render()
    };
    let vitals = move || async move { vitals::document(&counted.render(), &seen, &clock) };
    Router::new()
        .route("/metrics", get(scraped))
        .route("/vitals", get(vitals))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
}
