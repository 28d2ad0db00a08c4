//! Which path leads where. What acts is not there at all where the console only shows.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tower_service::Service;

use super::proxy::ProxyLoginError;
use super::site::{Shared, Site};
use super::{
    act, assets, cascade, dlq, doctor, endpoints, headers, help, lateness, list, live, login,
    message, retries, schedules, sky, theme, topology, trouble, who, workers,
};
use crate::api::Api;
use crate::api::problem::{Kind, Problem};

/// All of them, and the HTTP API's behind them, if it is there.
///
/// Errors: the password of a proxy that logs people in cannot be read.
pub fn router(api: &Api, of_api: Option<Router>) -> Result<Router, ProxyLoginError> {
    let site = Shared::new(api)?;
    let mut routes = Router::new();
    let base = site.at("");
    for (path, leads_to) in looking() {
        routes = routes.route(&format!("{base}{path}"), leads_to);
    }
    if !base.is_empty() {
        routes = routes.route(&base, get(sky::show));
    }
    if !site.is_read_only() {
        for (path, leads_to) in acting() {
            routes = routes.route(&format!("{base}{path}"), leads_to);
        }
    }
    let around = |routes: Router<Site>| {
        routes
            .layer(from_fn_with_state(site.clone(), who::guard))
            .layer(from_fn_with_state(site.clone(), pass))
            .layer(from_fn(headers::guard))
            .with_state(site.clone())
    };
    let not_found = around(Router::new().fallback(not_found));
    let elsewhere = move |request: Request| {
        let is_of_api = ["/v1/", "/delay/"].iter().any(|of| request.uri().path().starts_with(of));
        let of_api = of_api.clone().filter(|_| is_of_api);
        let mut there = of_api.unwrap_or_else(|| not_found.clone());
        async move { there.call(request).await }
    };
    Ok(around(routes).fallback(elsewhere))
}

/// What everybody may ask for, and what has no effect but on who asks.
fn looking() -> Vec<(&'static str, MethodRouter<Site>)> {
    vec![
        ("/assets/{name}", get(assets::serve)),
        ("/login", get(login::show).post(login::begin)),
        ("/logout", post(login::end)),
        ("/theme", post(theme::set)),
        ("/", get(sky::show)),
        ("/live/sky", get(live::sky)),
        ("/cascade", get(cascade::show)),
        ("/live/cascade", get(live::cascade)),
        ("/live/places", get(live::places)),
        ("/list", get(list::show)),
        ("/message", get(message::show)),
        ("/dlq", get(dlq::show)),
        ("/dlq/message", get(dlq::one)),
        ("/retries", get(retries::show)),
        ("/schedules", get(schedules::show)),
        ("/lateness", get(lateness::show)),
        ("/topology", get(topology::show)),
        ("/workers", get(workers::show)),
        ("/doctor", get(doctor::show)),
        ("/endpoints", get(endpoints::show)),
        ("/help", get(help::show)),
    ]
}

/// Every path that stands, by what it is for.
#[derive(Debug)]
pub struct Paths {
    /// What everybody may ask for, and what has no effect but on who asks.
    pub looking: Vec<&'static str>,
    /// What changes something.
    pub acting: Vec<&'static str>,
}

/// As the router has them.
pub fn paths() -> Paths {
    let of = |routes: Vec<(&'static str, _)>| routes.into_iter().map(|(path, _)| path).collect();
    Paths { looking: of(looking()), acting: of(acting()) }
}

/// What changes something: its handlers take an [`Actor`](super::who::Actor).
fn acting() -> Vec<(&'static str, MethodRouter<Site>)> {
    vec![
        ("/message/cancel", post(act::cancel)),
        ("/message/move", post(act::put_off)),
        ("/message/run-now", post(act::run_now)),
        ("/schedules/trigger", post(schedules::trigger)),
        ("/schedules/pause", post(schedules::pause)),
        ("/schedules/resume", post(schedules::resume)),
        ("/dlq/choose", post(dlq::choose).get(dlq::chosen)),
        ("/dlq/redrive", post(dlq::redrive)),
        ("/dlq/purge", post(dlq::purge)),
    ]
}

/// A stop waits for a request under way.
async fn pass(State(site): State<Site>, request: Request, next: Next) -> Response {
    match site.api.gate.enter() {
        Some(_pass) => next.run(request).await,
        None => {
            let detail =
                "the service is stopping and takes no more requests; another may have begun";
            trouble::bare(&site, request.headers(), &Problem::new(Kind::Stopping, detail))
        }
    }
}

async fn not_found(State(site): State<Site>, headers: HeaderMap, request: Request) -> Response {
    let detail = format!("there is nothing at {}", request.uri().path());
    trouble::bare(&site, &headers, &Problem::new(Kind::NotFound, detail)).into_response()
}
