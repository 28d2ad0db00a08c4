//! Drill 17: receivers of webhooks that hang, reset, lie about lengths, redirect inward, or lie where no webhook may go,
//! beside one that works.

use std::path::PathBuf;
use std::time::Duration;

use dormouse_broker::amqp::Connection;
use dormouse_broker::amqp::inspector::Inspector;
use dormouse_core::message::text;

use super::error::DrillError;
use super::load::{DELAY_EXCHANGE, Ends, Load, Order};
use super::posted::{PATH, SECRET};
use super::receiver::{Manners, Receiver};
use super::run::Run;
use super::site::{Site, until};
use super::{Finding, Options, Outcome};
use crate::dev::WorkerProcess;

/// The queue of what is due for an endpoint.
const QUEUE: &str = "dormouse-webhooks";

/// The receiver that works.
const GOOD: &str = "good";

/// One that is not spoken to but by a redirect.
const INSIDE: &str = "inside";

/// One of so many messages goes to a bad receiver.
const BAD_ONE_IN: usize = 4;

/// Those that mend do so this long after the start.
const MENDED: Duration = Duration::from_secs(6);

/// Then a breaker stays open for 10 s, and an attempt that failed before is followed by the next after up to 12 s.
const LAST_PAUSE: Duration = Duration::from_secs(25);

/// The dispatcher's own word for what goes to the DLQ at once.
const REFUSED: &str = "refused-by-consumer";

/// The path below an endpoint, and one that would leave it.
const BELOW: &str = "/orders/7?x=1";
const ABOVE: &str = "/../admin";

/// What becomes of a message for a bad receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It comes on time all the same.
    Comes,
    /// It comes once the receiver has mended.
    ComesLater,
    /// It lies in the DLQ.
    Dies,
}

/// What messages are sent to beside the good one.
const BAD: [(&str, &str, Fate); 12] = [
    ("hangs", BELOW, Fate::ComesLater),
    ("resets", BELOW, Fate::ComesLater),
    ("lies", BELOW, Fate::ComesLater),
    ("babbles", BELOW, Fate::ComesLater),
    ("redirects", BELOW, Fate::ComesLater),
    ("misleads", BELOW, Fate::ComesLater),
    ("busy", BELOW, Fate::ComesLater),
    ("boasts", BELOW, Fate::Comes),
    ("gone", BELOW, Fate::Dies),
    ("broker", BELOW, Fate::Dies),
    ("metadata", BELOW, Fate::Dies),
    (GOOD, ABOVE, Fate::Dies),
];

/// What comes is signed, whole and on time, whatever other receivers do; and nothing reaches what is inside.
pub async fn misbehaved(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open(options).await?;
    let mut outcome = Outcome::default();
    let mut receivers = open().await?;
    let file = endpoints(&site, &receivers)?.display().to_string();
    let hand = site.hire().await?;
    let roles = [("service.roles", "webhooks"), ("webhooks.file", &*file)];
    let dispatcher = site.hire_with(&roles).await?;
    until("the queue of webhooks is there", async || {
        let connection = Connection::open(&site.config.broker, "drill").await?;
        let stands = Inspector::open(&connection).await?.queue(QUEUE).await?.is_some();
        connection.close().await;
        Ok(stands)
    })
    .await?;

    let (load, bad) = load(options);
    let mut run = Run::publish(&site, load);
    run.also_consume(&site, site.names().dlq().as_str());
    for receiver in &mut receivers {
        receiver.serve(&run.load, run.seen());
    }
    run.at(MENDED).await;
    for (name, ..) in BAD.into_iter().filter(|(.., fate)| *fate == Fate::ComesLater) {
        receivers.iter().filter(|receiver| receiver.name == name).for_each(Receiver::mend);
        // the others have no such excuse
        run.fault_of_queue(name, run.start.ms, LAST_PAUSE);
    }
    outcome.faults = bad;
    outcome.verdict = run.end().await?;
    judge(&mut outcome, &receivers, &dispatcher).await;
    outcome.expect_never_early(std::slice::from_ref(&hand)).await;
    Ok(outcome)
}

/// What a verdict on messages does not tell.
async fn judge(outcome: &mut Outcome, receivers: &[Receiver], dispatcher: &WorkerProcess) {
    let twice = outcome.verdict.duplicates.total();
    outcome.expect(twice == 0, || Finding::new("sent again, though it was taken", twice));
    for receiver in receivers {
        let requests = receiver.requests();
        match receiver.name {
            INSIDE => outcome.expect(requests == 0, || Finding::new("led inside", requests)),
            name => outcome.expect(requests > 0, || Finding::new("never tried", name)),
        }
    }
    let requests = dispatcher.metric("dormouse_webhooks_total").await.unwrap_or_default();
    let bad = receivers.iter().filter(|receiver| ![GOOD, INSIDE].contains(&receiver.name));
    let bad: u64 = bad.map(Receiver::requests).sum();
    outcome.notes.push(format!("{requests} attempts; bad receivers were connected to {bad} times"));
}

/// All that listen, the one inside as the last.
async fn open() -> Result<Vec<Receiver>, DrillError> {
    let inside = Receiver::open(INSIDE, Manners::Takes).await?;
    let redirect = |to: &str| {
        let head = "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nConnection: close\r\n";
        Manners::Answers(format!("{head}Location: {to}\r\n\r\n"))
    };
    let answers = |text: &str| Manners::Answers(text.to_owned());
    let mut receivers = Vec::new();
    for (name, manners) in [
        (GOOD, Manners::Takes),
        ("hangs", Manners::Hangs),
        ("resets", Manners::Resets),
        ("lies", answers("HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\nshort")),
        ("babbles", answers("HELLO\r\n\r\n")),
        ("redirects", redirect(&format!("http://{}{PATH}", inside.address))),
        ("misleads", redirect("http://169.254.169.254/latest/meta-data/")),
        ("busy", answers("HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")),
        ("boasts", Manners::Boasts),
        ("gone", answers("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")),
    ] {
        receivers.push(Receiver::open(name, manners).await?);
    }
    receivers.push(inside);
    Ok(receivers)
}

/// The dispatcher's file: each but the one inside, and two where no webhook may go.
fn endpoints(site: &Site, receivers: &[Receiver]) -> Result<PathBuf, DrillError> {
    let mut text = "allow = [\"127.0.0.0/8\"]\n".to_owned();
    let listening = receivers.iter().filter(|receiver| receiver.name != INSIDE);
    let listening = listening.map(|receiver| (receiver.name, receiver.address.to_string()));
    let broker = format!("127.0.0.1:{}", site.node().amqp_port());
    let never = [("broker", broker), ("metadata", "169.254.169.254".to_owned())];
    for (name, host) in listening.chain(never) {
        // so that a place with a host that hangs is soon free again
        let timeout = if name == "hangs" { "1s" } else { "20s" };
        text += &format!(
            "[[endpoint]]\nname = {name:?}\nurl = \"http://{host}{PATH}\"\nsecrets = [{SECRET:?}]\ntimeout = {timeout:?}\n"
        );
    }
    let file = site.options().directory.join("endpoints.toml");
    let failed = |error| DrillError::of("the file of endpoints cannot be written", error);
    std::fs::write(&file, text).map_err(failed)?;
    Ok(file)
}

/// The ordinary load, all of it for endpoints. And how much of it is for bad ones.
fn load(options: &Options) -> (Load, u32) {
    let mut load = options.load();
    let mut bad = 0;
    for (index, order) in load.orders.iter_mut().enumerate() {
        if index % BAD_ONE_IN == 0 {
            address(order, BAD[bad as usize % BAD.len()]);
            bad += 1;
        } else {
            address(order, (GOOD, BELOW, Fate::Comes));
        }
    }
    (load, bad)
}

fn address(order: &mut Order, (endpoint, path, fate): (&'static str, &str, Fate)) {
    order.message.exchange = DELAY_EXCHANGE.to_owned();
    order.message.routing_key = QUEUE.to_owned();
    let headers = &mut order.message.properties.headers;
    headers.remove("CC");
    headers.insert("dormouse-endpoint".into(), text(endpoint));
    headers.insert("dormouse-path".into(), text(path));
    order.ends = match fate {
        Fate::Comes | Fate::ComesLater => Ends::Posted(endpoint),
        Fate::Dies => Ends::Dead(REFUSED),
    };
}
