//! What `dormouse doctor` asks a worker: its clock, what it has counted, and when somebody last looked at its metrics.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::worker::Clock;

/// When `/metrics` was asked for last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Scrapes(Arc<Mutex<Option<Instant>>>);

impl Scrapes {
    pub fn note(&self) {
        *self.0.lock().expect("no panic while noting a moment") = Some(Instant::now());
    }

    fn ms_ago(&self) -> Option<u64> {
        let last = *self.0.lock().expect("no panic while noting a moment");
        last.map(|last| last.elapsed().as_millis() as u64)
    }
}

/// Of the metrics as Prometheus gets them.
pub fn document(metrics: &str, scrapes: &Scrapes, clock: &Clock) -> Response {
    let vitals = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "now_ms": clock.now().0,
        "scraped_ms_ago": scrapes.ms_ago(),
        "scheduled": counted(metrics, "dormouse_scheduled_total"),
        "without_message_id": counted(metrics, "dormouse_without_message_id_total"),
        "transient": counted(metrics, "dormouse_transient_total"),
    });
    ([(CONTENT_TYPE, "application/json")], vitals.to_string()).into_response()
}

/// A counter without labels.
fn counted(metrics: &str, name: &str) -> Option<u64> {
    let values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.filter_map(|value| value.trim().parse().ok()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let metrics = "# TYPE a_total counter\na_total_b 3\na_total 7\n";
        assert_eq!(counted(metrics, "a_total"), Some(7));
        assert_eq!(counted(metrics, "b_total"), None);
    }
}
