//! Answers that are JSON.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;

/// Errors of the caller's and the service's are [`Problem`](super::problem::Problem)s.
pub fn respond(status: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).expect("one of ours");
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

pub fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("what is answered is JSON").into()
}
