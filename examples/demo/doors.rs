//! The same over HTTP, as `curl` would: with a key to find and to cancel by, and to an endpoint of webhooks.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dormouse::amqp::{Connection, Consumer};
use dormouse::config::{Config, Uri};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::delays::QUEUE;
use crate::receiver::Receiver;

/// What is cancelled would come so soon.
const SOON_MS: u64 = 2_000;
const AT_ONCE_MS: u64 = 1_000;
const POLL: Duration = Duration::from_millis(50);

/// Schedules four messages, cancels one, finds another, and receives the one for a webhook.
pub async fn show(config: &Config, api: SocketAddr, receiver: &mut Receiver) -> anyhow::Result<()> {
    let api = Api { address: api, login: login(&config.broker.uri[0]) };
    println!("\nThe same process answers HTTP, keeps an index and sends webhooks:\n");
    let to_queue = |key: &str, delay: Value| json!({ "target": { "queue": QUEUE }, "delay": delay, "body": key, "key": key });
    let scheduled = api.ask("POST", "/v1/messages", to_queue("order-17", json!("1h"))).await?;
    scheduled.print(&format!("order-17 for {QUEUE}, in an hour"));
    let scheduled = api.ask("POST", "/v1/messages", to_queue("order-18", json!(SOON_MS))).await?;
    scheduled.print(&format!("order-18 for {QUEUE}, in {} s", SOON_MS / 1_000));
    let cancelled = api.ask("DELETE", "/v1/messages/order-18", Value::Null).await?;
    cancelled.print(&format!("{}: it will not come", cancelled.word("outcome")));
    let target = json!({ "endpoint": "billing", "path": "/orders/19" });
    let webhook = json!({ "target": target, "delay": AT_ONCE_MS, "body": { "order": 19 } });
    let asked = Instant::now();
    let scheduled = api.ask("POST", "/v1/messages", webhook).await?;
    scheduled.print(&format!("order 19 for a webhook, in {} s", AT_ONCE_MS / 1_000));
    let found = api.until("order-17", "scheduled").await?;
    found.print(&format!("{}, and sleeps in", found.word("state")));
    let place = found.body["place"]["queue"].as_str().unwrap_or("?");
    println!("{:>37}{place}", "");

    let came = receiver.next().await?;
    println!(
        "\nThe webhook {} {} came after {:.3} s; its signature is {}.",
        came.path,
        came.body,
        asked.elapsed().as_secs_f64(),
        if came.is_right { "right" } else { "WRONG" }
    );
    let dropped = api.until("order-18", "dropped").await?;
    let reason = dropped.word("reason");
    let has_come = has_come(config).await?;
    println!(
        "order-18 {}: the index says \"dropped, {reason}\".",
        if has_come { "CAME" } else { "did not come" }
    );
    anyhow::ensure!(came.is_right && !has_come, "this demo shows a fault");
    Ok(())
}

/// Whether something lies in the mailbox: what was delivered before is taken out of it.
async fn has_come(config: &Config) -> anyhow::Result<bool> {
    let connection = Connection::open(&config.broker, "demo").await?;
    let mut mailbox = Consumer::open(&connection).await?;
    mailbox.consume(QUEUE, 1).await?;
    let came = timeout(Duration::from_millis(500), mailbox.next()).await.is_ok();
    connection.close().await;
    Ok(came)
}

/// The API, as one who logs in as a user of RabbitMQ sees it.
struct Api {
    address: SocketAddr,
    login: String,
}

struct Answer {
    asked: String,
    status: u16,
    body: Value,
}

impl Api {
    async fn ask(&self, method: &str, path: &str, body: Value) -> anyhow::Result<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", &self.login)
            .body(body)?;
        let agent = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = agent.allow_non_standard_methods(true).build().new_agent();
        let answered = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let mut response = agent.run(request)?;
            Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
        });
        let (status, text) = answered.await??;
        let asked = format!("{method:<6} {path}");
        Ok(Answer { asked, status, body: serde_json::from_str(&text)? })
    }

    /// Asks the index, which is some tenths of a second behind, until it says so.
    async fn until(&self, key: &str, state: &str) -> anyhow::Result<Answer> {
        loop {
            let answer = self.ask("GET", &format!("/v1/messages/{key}"), Value::Null).await?;
            if answer.body["state"] == state {
                return Ok(answer);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Answer {
    fn word(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or("?").to_owned()
    }

    /// As a line, with what it means.
    fn print(&self, words: &str) {
        let problem = self.body["detail"].as_str().filter(|_| self.status >= 400);
        println!("  {:<29} {}  {}", self.asked, self.status, problem.unwrap_or(words));
    }
}

/// HTTP Basic, from the user and password of an AMQP URI.
fn login(uri: &Uri) -> String {
    let (_, rest) = uri.expose().split_once("://").unwrap_or_default();
    let user = rest.rsplit_once('@').map_or("guest:guest", |(user, _)| user);
    format!("Basic {}", BASE64_STANDARD.encode(user))
}
