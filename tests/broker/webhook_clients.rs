//! What we sign is verified by the libraries of Standard Webhooks for other languages, in the receivers that
//! docs/webhooks.md shows, run as they are. What they need is fetched by scripts/get-clients.sh.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use dormouse::webhooks::{Secret, signatures};

use crate::clients::{Copied, folder};
use crate::support::*;
use crate::webhook_receiver::*;

const NEXT_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Lines of a program, as they come.
fn lines(stdout: std::process::ChildStdout) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let into = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
    lines
}

/// Sent to the receiver past Dormouse.
async fn posted(url: &str, seconds: u64, signature: String, body: &'static str) -> u16 {
    let request = ureq::post(url)
        .config()
        .http_status_as_error(false)
        .build()
        .header("webhook-id", "direct")
        .header("webhook-timestamp", seconds.to_string())
        .header("webhook-signature", signature);
    let sent = tokio::task::spawn_blocking(move || request.send(body));
    sent.await.unwrap().unwrap().status().as_u16()
}

async fn receives(language: &str, program: &str, file: &str) {
    let Some(folder) = folder(language) else { return };
    let broker = Broker::fresh(&language.replace('_', "-")).await;
    let copied = Copied::of(file, &folder, &broker);
    let mut command = copied.command(&folder, program, &broker);
    command.arg("0").env("WEBHOOK_SECRET", SECRET).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = lines(child.stdout.take().unwrap());
    let running = Program(child);
    let said = |start: &str| {
        let lines = lines.lock().unwrap();
        lines.iter().find_map(|line| Some(line.strip_prefix(start)?.to_owned()))
    };
    until("it listens", async || said("listening on ").is_some()).await;
    let url = format!("http://127.0.0.1:{}/hooks", said("listening on ").unwrap());

    let mut config = broker.config();
    let worker = Worker::start(&config).await;
    let file = format!(
        "{}[[endpoint]]\nname = \"rotated\"\nurl = {url:?}\nsecrets = [{NEXT_SECRET:?}]\n\
         old_secrets = [{{ secret = {SECRET:?}, expires = 2100-01-01T00:00:00Z }}]\n\
         [[endpoint]]\nname = \"stranger\"\nurl = {url:?}\nsecrets = [{NEXT_SECRET:?}]\n",
        endpoints(&[("billing", &url)])
    );
    let dispatcher = Dispatcher::start(&broker, &mut config, &file).await;
    let connection = broker.connect().await;
    for (endpoint, body) in [
        ("stranger", r#"{"order": 0}"#),
        ("billing", r#"{"order": 7, "to": "Zürich"}"#),
        ("rotated", r#"{"order": 8}"#),
    ] {
        let mut message = webhook(endpoint, "", 0, body.as_bytes());
        message.properties.message_id = dormouse::message::ShortString::try_new(endpoint).ok();
        publish(&connection, [message]).await;
    }
    let event = |endpoint: &str| {
        let said = said(&format!("{endpoint}: "))?;
        Some(serde_json::from_str::<serde_json::Value>(&said).unwrap())
    };
    until("both are taken, and the stranger's is refused", async || {
        event("billing").is_some() && event("rotated").is_some() && said("refused: ").is_some()
    })
    .await;
    assert_eq!(event("billing").unwrap(), serde_json::json!({ "order": 7, "to": "Zürich" }));
    assert_eq!(event("rotated").unwrap(), serde_json::json!({ "order": 8 }));
    assert_eq!(event("stranger"), None);
    // what a body, a time or an id was signed for holds for no other
    let secret = [Secret::parse(SECRET, None).unwrap()];
    let now = dormouse::worker::Clock::default().now().0 / 1_000;
    let signed = |seconds, body: &str| signatures(&secret, "direct", seconds, body.as_bytes());
    assert_eq!(posted(&url, now, signed(now, "{}"), "{}").await, 204);
    assert_eq!(posted(&url, now, signed(now, "{}"), "[]").await, 401);
    assert_eq!(posted(&url, now + 1, signed(now, "{}"), "{}").await, 401);
    assert_eq!(posted(&url, now - 3_600, signed(now - 3_600, "{}"), "{}").await, 401, "old");
    drop((running, copied));
    dispatcher.stop().await;
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_receiver_verifies_what_is_sent() {
    receives("webhooks_python", "venv/bin/python", "receive.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_receiver_verifies_what_is_sent() {
    receives("webhooks_node", "node", "receive.mjs").await;
}
