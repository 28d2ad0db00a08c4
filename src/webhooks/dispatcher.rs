//! Takes what is due for endpoints out of their queue, and sends it. A message is acked after the endpoint's 2xx, or
//! once a copy of it is confirmed in the levels or the DLQ: the library's consumer does that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dormouse_client::{Client, ClientError, Delivery, RetryPolicy, Verdict};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::WebhookError;
use super::endpoints::Endpoint;
use super::hosts::{Hosts, Shut};
use super::live::{Known, LiveEndpoints};
use super::metrics;
use super::outcome::{About, Outcome};
use super::sender::{Sender, Webhook};
use crate::config::Config;
use crate::worker::Clock;

/// The headers with an endpoint's name, and with a path below it.
pub use crate::schedule::headers::{ENDPOINT, ENDPOINT_PATH as PATH};

/// Requests under way at once, of all hosts; each may have far fewer.
const AT_ONCE: u32 = 512;
/// What kept it from sending is looked at again.
const AGAIN: Duration = Duration::from_secs(2);
/// With pauses of 5 s, 10 s … 6 h, the last attempt is about a day after the first.
pub const ATTEMPTS: u32 = 16;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// What all requests share.
struct Dispatcher {
    endpoints: LiveEndpoints,
    sender: Sender,
    hosts: Hosts,
}

/// Sends webhooks to `endpoints` until `stop`, through any number of lost connections.
///
/// Errors: nothing is there that TLS could trust.
pub async fn run(
    config: &Config,
    endpoints: LiveEndpoints,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), WebhookError> {
    metrics::describe();
    let sender = endpoints.sender(clock)?;
    let dispatcher = Arc::new(Dispatcher { endpoints, sender, hosts: Hosts::default() });
    consume(config, &dispatcher, &stop).await;
    Ok(())
}

/// Consumes until `stop`. A first worker may not have declared what a consumer looks for when it starts, and whatever
/// else is missing may come: it is told, and tried again.
async fn consume(config: &Config, dispatcher: &Arc<Dispatcher>, stop: &CancellationToken) {
    let mut told = String::new();
    while !stop.is_cancelled() {
        let Err(error) = consume_once(config, dispatcher.clone(), stop.clone()).await else {
            return;
        };
        let problem = error.to_string();
        if told != problem {
            warn!(name: "webhooks-failed", problem, again_every = ?AGAIN, "webhooks are not sent");
            told = problem;
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn consume_once(
    config: &Config,
    dispatcher: Arc<Dispatcher>,
    stop: CancellationToken,
) -> Result<(), ClientError> {
    let client = Client::open(config.clone()).await?;
    let queue = &config.webhooks.queue;
    client.declare_queue(queue).await?;
    let consumer = client
        .consumer_of_bytes(queue)
        .concurrency(AT_ONCE)
        .policy(RetryPolicy::exponential(FIRST_PAUSE, LONGEST_PAUSE, ATTEMPTS));
    let handler = move |delivery: Delivery<Bytes>| {
        let dispatcher = dispatcher.clone();
        async move { dispatcher.handle(delivery).await }
    };
    info!(name: "webhooks-running", queue, "sending webhooks");
    let ended = consumer.run(handler, stop).await;
    client.close().await;
    ended
}

impl Dispatcher {
    async fn handle(&self, delivery: Delivery<Bytes>) -> Verdict {
        let endpoint = match self.endpoint_of(&delivery) {
            Ok(endpoint) => endpoint,
            Err(reason) => return Verdict::DeadLetter(reason),
        };
        let attempt = delivery.attempt();
        let began = Instant::now();
        let outcome = self.send(&endpoint, &delivery).await;
        let is_sent = !matches!(outcome, Outcome::Busy { .. });
        metrics::sent(&endpoint.name, outcome.as_str(), is_sent.then(|| began.elapsed()));
        debug!(id = delivery.id(), endpoint = endpoint.name, attempt, ?outcome, "webhook");
        if outcome.about() == About::Gone && self.endpoints.disable(&endpoint.name) {
            warn!(
                name: "webhooks-endpoint-gone",
                endpoint = endpoint.name,
                "the endpoint answered 410: its messages go to the DLQ until the file of endpoints changes, or a restart"
            );
        }
        outcome.verdict(attempt, ATTEMPTS)
    }

    /// Errors: why it can go nowhere, in words for the DLQ.
    fn endpoint_of(&self, delivery: &Delivery<Bytes>) -> Result<Arc<Endpoint>, String> {
        let Some(name) = delivery.text(ENDPOINT) else {
            return Err(format!("it has no header {ENDPOINT} with the name of an endpoint"));
        };
        match self.endpoints.get(name) {
            None => {
                Err(format!("no endpoint {name:?} is in the file of endpoints (webhooks.file)"))
            }
            Some(Known { disabled: Some(why), .. }) => {
                Err(format!("endpoint {name:?} is disabled: {why}"))
            }
            Some(Known { endpoint, disabled: None }) => Ok(endpoint),
        }
    }

    async fn send(&self, endpoint: &Endpoint, delivery: &Delivery<Bytes>) -> Outcome {
        let path = delivery.text(PATH).unwrap_or_default();
        let to = match endpoint.address(path) {
            Ok(to) => to,
            Err(fault) => return Outcome::Forbidden(format!("header {PATH} is {path:?}: {fault}")),
        };
        let now = Instant::now();
        if let Err(at) = endpoint.take(now) {
            let pause = at.saturating_duration_since(now);
            return Outcome::Busy { pause, why: "its rate is used up" };
        }
        let authority = to.authority().map_or("", |authority| authority.as_str()).to_owned();
        let admitted = match self.hosts.admit(&authority, fastrand::f64()).await {
            Ok(admitted) => admitted,
            Err(Shut { pause, why }) => return Outcome::Busy { pause, why },
        };
        let content_type = delivery.message().properties.content_type.as_ref();
        let webhook = Webhook {
            to,
            id: delivery.id().unwrap_or_default(),
            attempt: delivery.attempt(),
            content_type: content_type.map(|content_type| content_type.as_str()),
            body: delivery.body.clone(),
            secrets: &endpoint.secrets,
            timeout: endpoint.timeout,
        };
        let outcome = self.sender.send(webhook).await.outcome;
        admitted.done(outcome.about(), Instant::now());
        outcome
    }
}
