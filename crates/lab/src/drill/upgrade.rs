//! Drill 10: another layout, with messages asleep in the old one and traffic going on.

use std::time::Duration;

use dormouse_broker::amqp::Connection;
use dormouse_broker::amqp::inspector::Inspector;
use dormouse_core::topology::Topology;

use super::error::DrillError;
use super::load::{Load, Shape};
use super::run::Run;
use super::site::Site;
use super::{Finding, Options, Outcome};

/// The new layout: another version, another radix.
const NEXT: [(&str, &str); 2] = [("topology.version", "2"), ("topology.radix", "7")];

/// A drain looks twice whether the old queues are empty, ten seconds apart: there has to be traffic.
const DRAIN: Duration = Duration::from_secs(25);

pub async fn drained(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open(options).await?;
    let mut outcome = Outcome::default();
    let old = [site.hire().await?, site.hire().await?];
    let span = options.duration / 2 + DRAIN;
    let messages = (f64::from(options.rate) * span.as_secs_f64()) as u32;
    let shape = Shape { span, messages, longest: DRAIN, ..options.shape() };
    let run = Run::begin(&site, Load::new(options.seed, &shape), &options.queues());
    run.at(options.duration / 4).await;
    let (code, printed) = site.command_with(&NEXT, &["topology", "apply"]).await?;
    outcome.expect(code == Some(0), || Finding::new("apply", printed));
    let new = [site.hire_with(&NEXT).await?, site.hire_with(&NEXT).await?];
    for hand in old {
        let status = hand.stop().await?;
        outcome.expect(status.success(), || Finding::new("a worker did not stop in order", status));
    }
    let missing = run.missing();
    let (code, printed) = site.command_with(&NEXT, &["topology", "drain"]).await?;
    outcome.expect(code == Some(0), || Finding::new("drain", &printed));
    outcome.notes.push(format!("{missing} messages were on their way when drain began"));
    outcome.faults = 1;
    outcome.verdict = run.end().await?;
    outcome.expect_never_early(&new).await;
    // nothing of the old layout is left
    let connection = Connection::open(&site.config.broker, "drill").await?;
    let mut inspector = Inspector::open(&connection).await?;
    for queue in Topology::of(&site.config).queues {
        if queue.name.starts_with(&site.names().versioned()) {
            let stands = inspector.queue(&queue.name).await?.is_some();
            outcome.expect(!stands, || Finding::new("still stands", &queue.name));
        }
    }
    connection.close().await;
    Ok(outcome)
}
