//! Bodies of requests: read within a size and a time, and as JSON whatever their type says.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{Kind, Problem};

/// From the end of its headers to the end of its body.
const READING: Duration = Duration::from_secs(30);

/// Of a body that is too large so much more is read, since many a client reads no answer before it has sent all.
const READ_FOR_NOTHING: usize = 8 * 1024 * 1024;

/// Errors: it is larger, or does not come.
pub async fn whole(body: Body, most_bytes: u64) -> Result<Bytes, Problem> {
    let most = usize::try_from(most_bytes).unwrap_or(usize::MAX);
    match tokio::time::timeout(READING, read(body, most)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            let detail =
                format!("the request has more than api.max_body_bytes = {most_bytes} bytes");
            Err(Problem::new(Kind::TooLarge, detail).with("limit", most_bytes))
        }
        Ok(Err(error)) => {
            Err(Problem::new(Kind::Malformed, format!("the body did not come: {error}")))
        }
        Err(_) => {
            let detail = format!("the body did not come within {} s", READING.as_secs());
            Err(Problem::new(Kind::TooSlow, detail))
        }
    }
}

/// None if it is larger.
async fn read(body: Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let (mut parts, mut length) = (Vec::new(), 0usize);
    let mut stream = body.into_data_stream();
    while let Some(part) = stream.next().await {
        let part = part?;
        length = length.saturating_add(part.len());
        if length <= most {
            parts.push(part);
        } else {
            parts.clear();
            if length > most.saturating_add(READ_FOR_NOTHING) {
                break;
            }
        }
    }
    if length > most {
        return Ok(None);
    }
    Ok(Some(match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            let all: Vec<u8> = parts.into_iter().chain(last).flatten().collect();
            all.into()
        }
    }))
}

/// As [`json`], of an object: what is a list is no shorter way to write one.
pub fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Err(Problem::new(Kind::Invalid, "the JSON is an array, and not an object")),
        _ => json(bytes),
    }
}

/// Errors: it is no such JSON. What is no JSON at all is malformed; what has a wrong value or member, invalid.
pub fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(&error))
}

/// As [`json`], of what was read already.
pub fn value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Problem {
    let kind = if error.is_data() { Kind::Invalid } else { Kind::Malformed };
    let said = error.to_string();
    let problem = Problem::new(kind, format!("the JSON cannot be taken: {said}"));
    let field = said.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
    match field {
        Some((field, _)) => problem.with("field", field),
        None => problem,
    }
}
