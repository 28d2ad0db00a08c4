//! Which path leads where.

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{Kind, Problem};
use super::state::Api;
use super::{
    commands, delay_service, dlq, endpoints, events, gate, index, look, messages, observed,
    openapi, origin, schedules,
};

/// In bytes.
const LONGEST_REFUSAL: usize = 4_096;

/// All of them, with what stands around each.
pub fn router(api: &Api) -> Router {
    let (routes, document) = documented(api.config.api.delay_service).split_for_parts();
    let document: Bytes = written(document).into();
    let document = async move || ([(CONTENT_TYPE, "application/json")], document);
    let not_found = async |request: Request| {
        let detail = format!("there is nothing at {}", request.uri().path());
        Problem::new(Kind::NotFound, detail)
    };
    routes
        .route("/v1/openapi.json", get(document))
        .fallback(not_found)
        .layer(from_fn(as_problems))
        .layer(from_fn(origin::guard))
        .layer(from_fn_with_state(api.gate.clone(), gate::guard))
        .layer(from_fn(observed::observe))
        .with_state(api.clone())
}

/// The OpenAPI document, as it is served and committed.
pub fn document() -> String {
    written(documented(true).into_openapi())
}

fn written(document: utoipa::openapi::OpenApi) -> String {
    let mut text = document.to_pretty_json().expect("it is JSON");
    text.push('\n');
    text
}

/// The routes, with what is said of them.
fn documented(has_delay_service: bool) -> OpenApiRouter<Api> {
    let routes = openapi::router()
        .routes(routes!(messages::schedule))
        .routes(routes!(messages::schedule_batch))
        .routes(routes!(commands::cancel_many))
        .routes(routes!(index::messages))
        .routes(routes!(index::message))
        .routes(routes!(commands::cancel, commands::change))
        .route("/v1/messages/{key}", post(commands::run_now))
        .routes(routes!(index::history))
        .routes(routes!(index::count))
        .routes(routes!(index::load))
        .routes(routes!(index::state))
        .routes(routes!(schedules::list))
        .routes(routes!(schedules::show, schedules::put, schedules::delete))
        .route("/v1/schedules/{name}", post(schedules::act))
        .routes(routes!(look::explain))
        .routes(routes!(look::levels))
        .routes(routes!(look::workers))
        .routes(routes!(look::topology))
        .routes(routes!(look::capabilities))
        .routes(routes!(events::events))
        .routes(routes!(endpoints::list))
        .routes(routes!(endpoints::show))
        .route("/v1/endpoints/{name}", post(endpoints::test))
        .routes(routes!(dlq::list))
        .routes(routes!(dlq::show))
        .routes(routes!(dlq::redrive))
        .routes(routes!(dlq::purge));
    if !has_delay_service {
        return routes;
    }
    routes.routes(routes!(delay_service::add)).routes(routes!(delay_service::pull))
}

/// What the framework refuses by itself, as a problem, in its own words.
async fn as_problems(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let (parts, body) = next.run(request).await.into_parts();
    let status = parts.status.as_u16();
    let is_json = |value: &HeaderValue| value.as_bytes().ends_with(b"json");
    if status < 400 || parts.headers.get(CONTENT_TYPE).is_some_and(is_json) {
        return Response::from_parts(parts, body);
    }
    let said = to_bytes(body, LONGEST_REFUSAL).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let (kind, detail) = match status {
        405 => (Kind::MethodNotAllowed, format!("{path} does not take this method")),
        _ => (Kind::Malformed, format!("{path}: the request cannot be read. {said}")),
    };
    let mut problem = Problem::new(kind, detail).into_response();
    if let Some(allow) = parts.headers.get(ALLOW) {
        problem.headers_mut().insert(ALLOW, allow.clone());
    }
    problem
}
