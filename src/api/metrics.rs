//! What the API shows of itself. A route is one of ours, or `other`; so there are no more series than routes.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::counted::Counted;

const REQUESTS: &str = "dormouse_api_requests_total";
const SECONDS: &str = "dormouse_api_request_seconds";
const IN_FLIGHT: &str = "dormouse_api_in_flight";
const REFUSED: &str = "dormouse_api_refused_total";
const WATCHERS: &str = "dormouse_api_watchers";

/// Registers the help texts.
pub fn describe() {
    describe_counter!(REQUESTS, "Requests to the HTTP API, by route and class of the status");
    describe_histogram!(SECONDS, "From a request's headers to those of its answer, by route");
    describe_gauge!(IN_FLIGHT, "Requests to the HTTP API that are not answered yet");
    describe_counter!(REFUSED, "Requests to the HTTP API that came to a problem, by its type");
    describe_gauge!(WATCHERS, "Streams of server-sent events that are open");
    gauge!(IN_FLIGHT).set(0.0);
    gauge!(WATCHERS).set(0.0);
}

/// A request has come to this. No class: who asked did not wait for it.
pub fn answered(route: &str, class: Option<&'static str>, took: Duration) {
    let labels = [("route", route.to_owned()), ("status", class.unwrap_or("none").to_owned())];
    counter!(REQUESTS, &labels).increment(1);
    if class.is_some() {
        histogram!(SECONDS, "route" => route.to_owned()).record(took.as_secs_f64());
    }
}

/// It was a problem of this type.
pub fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// A request is under way.
pub fn in_flight() -> Counted {
    Counted::new(gauge!(IN_FLIGHT))
}

/// Somebody watches.
pub fn watcher() -> Counted {
    Counted::new(gauge!(WATCHERS))
}
