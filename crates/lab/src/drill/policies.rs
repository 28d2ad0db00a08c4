//! Drill 6: an operator's blanket policies are put on and taken off. `verify` says what they do, before
//! and while they do it.
//!
//! Saved, under load: shorter TTLs, a bounded intake queue, an end of another overflow. Not to be saved:
//! what sleeps in a queue that `expires` deletes or enters one that is about to be deleted, and what is
//! between two queues when another overflow begins (docs/traps.md, 27, 31); so those come when nothing sleeps.

use std::collections::BTreeMap;
use std::time::Duration;

use dormouse_broker::amqp::Connection;
use dormouse_broker::amqp::inspector::Inspector;
use dormouse_broker::management::{Management, Policy};
use dormouse_core::topology::Topology;
use serde_json::{Value, json};

use super::error::DrillError;
use super::load::{Load, Shape};
use super::run::Run;
use super::site::{Site, until};
use super::{Finding, Options, Outcome};

const NAME: &str = "blanket";

const OVERFLOW: &str = "overflow";

const CATCHING_UP: Duration = Duration::from_secs(3);

/// One blanket policy, and words of what `verify` says of it.
struct Blanket {
    pattern: &'static str,
    key: &'static str,
    value: Value,
    says: &'static str,
}

/// It ends at-least-once dead-lettering, and with it what RabbitMQ knows of unconfirmed dead letters.
fn drop_head() -> Blanket {
    Blanket {
        pattern: r"^dormouse\.",
        key: OVERFLOW,
        value: json!("drop-head"),
        says: "deletes what is just expiring",
    }
}

fn saved() -> [Blanket; 2] {
    [
        Blanket {
            pattern: r"^dormouse\.v1\.",
            key: "message-ttl",
            value: json!(1_500),
            says: "messages leave this queue early",
        },
        Blanket {
            pattern: r"^dormouse\.intake$",
            key: "max-length",
            value: json!(1),
            says: "once it is full it rejects",
        },
    ]
}

pub async fn blanket(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open(options).await?;
    let mut outcome = Outcome::default();
    let hands = [site.hire().await?, site.hire().await?];
    let management = Management::new(&site.node().management_uri(), None)?;
    let pause = options.duration.mul_f64(0.05);
    let already = drop_head();
    already.put(&management).await?;
    told(&site, &already, &mut outcome).await?;
    let mut run = Run::begin(&site, options.load(), &options.queues());
    for blanket in [already].into_iter().chain(saved()) {
        run.fault_begins();
        if blanket.key != OVERFLOW {
            blanket.put(&management).await?;
            told(&site, &blanket, &mut outcome).await?;
        }
        tokio::time::sleep(pause).await;
        management.delete_policy("/", NAME).await?;
        until("verify is content again", async || {
            Ok(site.command(&["topology", "verify"]).await?.0 == Some(0))
        })
        .await?;
        run.fault_ends(CATCHING_UP);
        tokio::time::sleep(pause).await;
        outcome
            .notes
            .push(format!("{} {} on {}: saved", blanket.key, blanket.value, blanket.pattern));
        outcome.faults += 1;
    }
    outcome.verdict = run.end().await?;
    expired(&mut site, &management, &mut outcome).await?;
    outcome.expect_never_early(&hands).await;
    Ok(outcome)
}

impl Blanket {
    async fn put(&self, management: &Management) -> Result<(), DrillError> {
        let definition = BTreeMap::from([(self.key.to_owned(), self.value.clone())]);
        let policy = Policy {
            name: NAME.into(),
            pattern: self.pattern.into(),
            apply_to: "queues".into(),
            definition,
            priority: 1,
        };
        Ok(management.put_policy("/", &policy).await?)
    }
}

/// `verify` has to name the policy and what it does, with exit code 3.
async fn told(site: &Site, blanket: &Blanket, outcome: &mut Outcome) -> Result<(), DrillError> {
    let (code, printed) = site.command(&["topology", "verify"]).await?;
    let words = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = code == Some(3) && words.contains(NAME) && words.contains(blanket.says);
    outcome.expect(told, || {
        Finding::new(
            "verify does not tell of the policy",
            format!("{}, {code:?}: {words}", blanket.key),
        )
    });
    Ok(())
}

/// Waits until all of them are declared, or none is.
async fn until_all_stand(
    inspector: &mut Inspector<'_>,
    queues: &[String],
    stand: bool,
) -> Result<(), DrillError> {
    let what =
        if stand { "the level queues are declared again" } else { "the policy deletes them" };
    for queue in queues {
        until(what, async || Ok(inspector.queue(queue).await?.is_some() == stand)).await?;
    }
    Ok(())
}

/// Queues that a policy deletes are declared again, and what comes after arrives.
async fn expired(
    site: &mut Site,
    management: &Management,
    outcome: &mut Outcome,
) -> Result<(), DrillError> {
    let connection = Connection::open(&site.config.broker, "drill").await?;
    let mut inspector = Inspector::open(&connection).await?;
    let levels = Topology::of(&site.config).queues.into_iter().map(|queue| queue.name);
    let levels: Vec<String> = levels.filter(|name| name.contains(".level.")).collect();
    let blanket = Blanket {
        pattern: r"^dormouse\.v1\.level\.",
        key: "expires",
        value: json!(1_000),
        says: "a level queue never has a consumer",
    };
    blanket.put(management).await?;
    told(site, &blanket, outcome).await?;
    // all of them: RabbitMQ decides on its ticks, and what enters one that it is about to delete goes too
    until_all_stand(&mut inspector, &levels, false).await?;
    management.delete_policy("/", NAME).await?;
    let options = site.options().clone();
    let half = options.duration / 4;
    let shape = Shape {
        span: half,
        longest: half,
        messages: options.shape().messages / 4,
        ..options.shape()
    };
    // another seed: what is left of the first load would be nobody's
    let mut run =
        Run::begin(site, Load::new(options.seed.wrapping_add(1), &shape), &options.queues());
    run.fault_begins();
    until_all_stand(&mut inspector, &levels, true).await?;
    run.fault_ends(CATCHING_UP);
    outcome.verdict.add(run.end().await?);
    outcome.notes.push(format!(
        "{} on {}: deletes the level queues with what sleeps in them; declared again, and what came after arrived",
        blanket.key, blanket.pattern
    ));
    outcome.faults += 1;
    connection.close().await;
    Ok(())
}
