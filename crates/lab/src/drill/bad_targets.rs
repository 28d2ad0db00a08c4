//! Drill 5: targets that are missing, full, forbidden, or not there yet, among many good ones.

use std::time::Duration;

use dormouse_broker::amqp::Connection;
use dormouse_broker::amqp::declare::declare;
use dormouse_broker::management::Management;
use dormouse_core::topology::{
    Argument, Arguments, Binding, Destination, Exchange, Kind, Queue, Topology,
};

use super::error::DrillError;
use super::load::{Ends, Load, Order};
use super::run::Run;
use super::site::{Site, targets};
use super::{Finding, Options, Outcome};

/// One of so many messages goes to a bad target.
const BAD_ONE_IN: usize = 50;

/// An exchange that goes and comes back, and a queue that comes late.
const FLAPPY: &str = "flappy";
const TARDY: &str = "tardy";

/// The exchange is gone for so long, and the queue comes so late.
const GONE: Duration = Duration::from_secs(3);

/// The longest pause between two attempts with these settings, and some more.
const LAST_PAUSE: Duration = Duration::from_secs(8);

const SETTINGS: [(&str, &str); 3] = [
    (
        "delay_exchange",
        "dormouse.delay=,missing.delay=missing,forbidden.delay=forbidden,flappy.delay=flappy",
    ),
    // 0.2, 0.4, … 6.4 s: longer than anything is gone
    ("attempts.max", "7"),
    ("attempts.jitter", "0"),
];

/// The worker's own user, which may not write to `forbidden`.
const WORKER: &str = "worker";
const WRITE: &str = r"^(dormouse\..*|.*\.delay|amq\.default|missing|flappy)$";

/// What a message can be sent to: delay exchange, routing key, and where it ends.
const BAD: [(&str, &str, &str); 6] = [
    ("dormouse.delay", "nowhere", "unroutable"),
    ("missing.delay", "anything", "exchange-not-found"),
    ("dormouse.delay", "full", "nacked"),
    ("forbidden.delay", "anything", "access-refused"),
    ("flappy.delay", "anything", ""),
    ("dormouse.delay", TARDY, ""),
];

pub async fn among_good(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open_with(options, &SETTINGS).await?;
    let management = Management::new(&site.node().management_uri(), None)?;
    management.put_user(WORKER, WORKER, &[]).await?;
    management.put_permissions("/", WORKER, ".*", WRITE, ".*").await?;
    let connection = Connection::open(&site.config.broker, "drill").await?;
    declare(&connection, &around()).await?;
    let uri = site.node().amqp_uri().replace("guest:guest", "worker:worker") + "/%2f";
    let hand = site.hire_with(&[("broker.uri", &uri)]).await?;

    let mut outcome = Outcome::default();
    let (load, bad) = load(options);
    let queues: Vec<_> = options.queues().into_iter().chain([FLAPPY]).collect();
    let mut run = Run::begin(&site, load, &queues);
    run.at(options.duration / 4).await;
    management.delete_exchange("/", FLAPPY).await?;
    tokio::time::sleep(GONE).await;
    declare(&connection, &around()).await?;
    declare(&connection, &targets(&[TARDY])).await?;
    run.also_consume(&site, TARDY);
    // good messages have no such excuse
    for queue in [FLAPPY, TARDY] {
        run.fault_of_queue(queue, run.start.ms, LAST_PAUSE);
    }
    outcome.faults = bad;
    outcome.verdict = run.end().await?;
    outcome.notes.push(format!("{bad} messages for bad targets among good ones"));
    outcome.expect(outcome.verdict.held_up <= u64::from(bad), || {
        Finding::new("more held up than went to bad targets", bad)
    });
    outcome.expect_never_early(std::slice::from_ref(&hand)).await;
    connection.close().await;
    Ok(outcome)
}

/// Some messages of the ordinary load, addressed anew.
fn load(options: &Options) -> (Load, u32) {
    let mut load = options.load();
    let mut bad = 0;
    for order in load.orders.iter_mut().step_by(BAD_ONE_IN) {
        address(order, BAD[bad as usize % BAD.len()]);
        bad += 1;
    }
    (load, bad)
}

fn address(order: &mut Order, (exchange, key, reason): (&str, &str, &'static str)) {
    order.message.exchange = exchange.to_owned();
    order.message.routing_key = key.to_owned();
    order.message.properties.headers.remove("CC");
    order.ends = match (exchange, reason) {
        ("flappy.delay", _) => Ends::In([FLAPPY.to_owned()].into()),
        (_, "") => Ends::In([TARDY.to_owned()].into()),
        (_, reason) => Ends::Dead(reason),
    };
}

/// The exchanges and queues around the ordinary ones.
fn around() -> Topology {
    let fanout = |name: &str| Exchange {
        name: name.to_owned(),
        kind: Kind::Fanout,
        internal: false,
        arguments: Arguments::new(),
    };
    let full = Queue {
        name: "full".into(),
        arguments: Arguments::from([
            ("x-max-length", Argument::Number(0)),
            ("x-overflow", Argument::Text("reject-publish".into())),
        ]),
    };
    let binding = Binding {
        source: FLAPPY.into(),
        destination: Destination::Queue(FLAPPY.into()),
        routing_key: String::new(),
    };
    Topology {
        exchanges: vec![fanout(FLAPPY), fanout("forbidden")],
        queues: targets(&[FLAPPY]).queues.into_iter().chain([full]).collect(),
        bindings: vec![binding],
    }
}
