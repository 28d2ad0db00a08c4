//! What webhooks show of themselves. Endpoints and hosts are those of the operator's file, so there are as many series
//! as it has lines.

use std::time::Duration;

use metrics::{
    Gauge, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::counted::Counted;

const SENT: &str = "dormouse_webhooks_total";
const SECONDS: &str = "dormouse_webhook_seconds";
const UNDER_WAY: &str = "dormouse_webhook_under_way";
const WAITING: &str = "dormouse_webhook_waiting";
const BREAKER: &str = "dormouse_webhook_breaker_open";

/// Registers the help texts.
pub fn describe() {
    describe_counter!(SENT, "Requests to endpoints of webhooks, by endpoint and outcome");
    describe_histogram!(SECONDS, "From a request to an endpoint of webhooks to its answer");
    describe_gauge!(UNDER_WAY, "Requests to a host of webhooks that are not answered yet");
    describe_gauge!(WAITING, "Webhooks that wait for a place among those, for a second at most");
    describe_gauge!(BREAKER, "1 while the breaker of a host of webhooks is open, or probes it");
}

/// What came of a request, and how long it took; nothing if none was sent.
pub fn sent(endpoint: &str, outcome: &'static str, took: Option<Duration>) {
    counter!(SENT, "endpoint" => endpoint.to_owned(), "outcome" => outcome).increment(1);
    if let Some(took) = took {
        histogram!(SECONDS).record(took.as_secs_f64());
    }
}

/// Of one host.
#[derive(Debug)]
pub struct HostGauges {
    under_way: Gauge,
    waiting: Gauge,
    breaker: Gauge,
}

impl HostGauges {
    pub fn new(host: &str) -> Self {
        let of = |name: &'static str| gauge!(name, "host" => host.to_owned());
        let gauges = Self { under_way: of(UNDER_WAY), waiting: of(WAITING), breaker: of(BREAKER) };
        gauges.breaker(false);
        gauges
    }

    /// Until it is dropped.
    pub fn under_way(&self) -> Counted {
        Counted::new(self.under_way.clone())
    }

    /// Until it is dropped.
    pub fn waits(&self) -> Counted {
        Counted::new(self.waiting.clone())
    }

    pub fn breaker(&self, is_open: bool) {
        self.breaker.set(if is_open { 1.0 } else { 0.0 });
    }
}
