//! Drill 16: the ledger takes nothing, is cut short behind its reader's back, and is deleted, under load. Nobody who waits
//! for a message notices; the index says that it may lack something, and after a census it has what the recorder has.

use std::collections::BTreeSet;
use std::time::Duration;

use dormouse::index::GapKind;
use dormouse_broker::amqp::Connection;
use dormouse_broker::amqp::declare::declare;
use dormouse_broker::amqp::remove::Remove;
use dormouse_broker::management::Management;
use dormouse_core::schedule::UnixMs;
use dormouse_core::topology::{Argument, Topology};

use super::asked::Asked;
use super::error::DrillError;
use super::load::{Load, Shape};
use super::recorder::now_ms;
use super::run::Run;
use super::site::{Site, until};
use super::{Finding, Options, Outcome};
use crate::dev::WorkerProcess;

/// So that the stream of a drill is cut short at all: RabbitMQ deletes whole segments.
const SMALL: [(&str, i64); 2] =
    [("x-max-length-bytes", 50_000), ("x-stream-max-segment-size-bytes", 25_000)];

/// Of 120 bytes each at least, they are more than it keeps.
const MORE_THAN_IT_KEEPS: f64 = 800.0;

/// What is done to the ledger takes about so long, and it is done under load: a worker that writes nothing is missed after
/// half a minute.
const TROUBLES: Duration = Duration::from_secs(60);

/// The longest delay, so that much sleeps when all is done.
const LONGEST: Duration = Duration::from_secs(40);

/// What is confirmed to its publisher is noted so long after.
const NOTED: Duration = Duration::from_secs(1);

/// What is to come sooner may have come while the index was asked.
const SOON: Duration = Duration::from_secs(2);

type Hands = [WorkerProcess; 2];

pub async fn troubled(options: &Options) -> Result<Outcome, DrillError> {
    let asked = Asked { file: options.directory.join("messages.sqlite") };
    let file = asked.file.display().to_string();
    let settings = [
        ("ledger.enabled", "true"),
        ("index.file", &*file),
        // this drill takes one when it has seen that the index wants it
        ("index.census", "never"),
        // so that nobody mends what it breaks
        ("topology.declare", "false"),
    ];
    let mut site = Site::open_with(options, &settings).await?;
    let mut outcome = Outcome::default();
    let ledger = Ledger::small(&site).await?;
    let hands = [site.hire().await?, site.hire().await?];
    let index = hire_index(&mut site).await?;
    until("the index is there", async || Ok(asked.completeness().is_ok())).await?;
    census(&site, &asked).await?;

    let span = TROUBLES.max(options.duration / 2);
    // it lasts ten times as long as other drills, and what sleeps in short levels is work for the broker all the time
    let messages = (f64::from(options.rate) * span.as_secs_f64() / 2.0).ceil() as u32;
    let shape = Shape { messages, span, longest: LONGEST, ..options.shape() };
    let mut run = Run::begin(&site, Load::new(options.seed, &shape), &options.queues());
    stalled(&ledger, &hands, &asked, &mut outcome).await?;
    let index = cut_short(&mut site, &hands, index, &asked).await?;
    deleted(&site, &ledger, &hands, &asked).await?;
    outcome.faults = 3;

    until("all is published", async || Ok(run.is_published())).await?;
    asked.until_complete(UnixMs(now_ms()).plus(NOTED).0).await?;
    compare(run, &asked, &mut outcome).await?;
    let twice = outcome.verdict.duplicates.ours();
    outcome.expect(twice == 0, || Finding::new("duplicated without a lost connection", twice));
    outcome.expect_never_early(&hands).await;
    index.kill();
    Ok(outcome)
}

/// The exchange and the stream.
struct Ledger {
    connection: Connection,
    management: Management,
    topology: Topology,
}

impl Ledger {
    /// In place of the one that stands, which is too large for a drill.
    async fn small(site: &Site) -> Result<Self, DrillError> {
        let name = site.names().ledger();
        let mut topology = Topology::of(&site.config);
        topology.exchanges.retain(|exchange| exchange.name == name);
        topology.queues.retain(|queue| queue.name == name);
        topology.bindings.retain(|binding| binding.source == name);
        for (argument, value) in SMALL {
            topology.queues[0].arguments.insert(argument, Argument::Number(value));
        }
        let connection = Connection::open(&site.config.broker, "drill").await?;
        let management = Management::new(&site.node().management_uri(), None)?;
        let ledger = Self { connection, management, topology };
        ledger.delete().await?;
        ledger.declare().await?;
        Ok(ledger)
    }

    async fn delete(&self) -> Result<(), DrillError> {
        Ok(self.management.delete_queue("/", &self.topology.queues[0].name).await?)
    }

    async fn declare(&self) -> Result<(), DrillError> {
        Ok(declare(&self.connection, &self.topology).await?)
    }

    /// What is published to its exchange is returned from now on.
    async fn unbind(&self) -> Result<(), DrillError> {
        let name = &self.topology.queues[0].name;
        let remove = Remove::open(&self.connection).await?;
        Ok(remove.queue_binding(name, name, "", &<_>::default()).await?)
    }
}

async fn hire_index(site: &mut Site) -> Result<WorkerProcess, DrillError> {
    site.hire_with(&[("service.roles", "index")]).await
}

/// As an operator takes one, and what is to come of it.
async fn census(site: &Site, asked: &Asked) -> Result<(), DrillError> {
    let began_ms = now_ms();
    until("a census is taken", async || {
        let (code, said) = site.command(&["index", "census"]).await?;
        // it is folded for a terminal
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        match code {
            Some(0) => Ok(true),
            // a worker sweeps
            _ if said.contains("try again when that is over") => Ok(false),
            _ => Err(DrillError::of("a census", said)),
        }
    })
    .await?;
    asked.until_complete(began_ms).await
}

async fn sum(hands: &Hands, metric: &str) -> f64 {
    let mut sum = 0.0;
    for hand in hands {
        sum += hand.metric(metric).await.unwrap_or_default();
    }
    sum
}

/// Waits until each worker goes on without the ledger.
async fn until_stalled(hands: &Hands) -> Result<(), DrillError> {
    until("no worker waits for the ledger", async || {
        Ok(sum(hands, "dormouse_ledger_stalled").await == hands.len() as f64)
    })
    .await
}

/// It takes nothing, for longer than anybody waits for it. There is room for what happens meanwhile, so nothing is missing
/// in the end.
async fn stalled(
    ledger: &Ledger,
    hands: &Hands,
    asked: &Asked,
    outcome: &mut Outcome,
) -> Result<(), DrillError> {
    ledger.unbind().await?;
    until_stalled(hands).await?;
    asked.until_incomplete(Some(GapKind::Silent)).await?;
    ledger.declare().await?;
    until("the ledger has all of it", async || {
        let waiting = sum(hands, "dormouse_ledger_waiting_events").await;
        Ok(sum(hands, "dormouse_ledger_stalled").await == 0.0 && waiting == 0.0)
    })
    .await?;
    let given_up = sum(hands, "dormouse_ledger_gap_events_total").await;
    outcome
        .expect(given_up == 0.0, || Finding::new("events given up, and there was room", given_up));
    asked.until_complete(now_ms()).await
}

/// The index is killed, and what it has not read yet is deleted.
async fn cut_short(
    site: &mut Site,
    hands: &Hands,
    index: WorkerProcess,
    asked: &Asked,
) -> Result<WorkerProcess, DrillError> {
    index.kill();
    let before = sum(hands, "dormouse_ledger_events_total").await;
    until("the ledger has more than it keeps", async || {
        Ok(sum(hands, "dormouse_ledger_events_total").await > before + MORE_THAN_IT_KEEPS)
    })
    .await?;
    let index = hire_index(site).await?;
    asked.until_incomplete(Some(GapKind::Truncated)).await?;
    census(site, asked).await?;
    Ok(index)
}

/// The stream is deleted, and later declared again.
async fn deleted(
    site: &Site,
    ledger: &Ledger,
    hands: &Hands,
    asked: &Asked,
) -> Result<(), DrillError> {
    ledger.delete().await?;
    until_stalled(hands).await?;
    ledger.declare().await?;
    asked.until_incomplete(None).await?;
    census(site, asked).await
}

/// The index knows what sleeps, no more and no less, by what arrives of it; and then that it has arrived.
async fn compare(run: Run, asked: &Asked, outcome: &mut Outcome) -> Result<(), DrillError> {
    let since = UnixMs(now_ms()).plus(SOON);
    let asleep = asked.asleep(since)?;
    let seen = run.seen();
    outcome.verdict = run.end().await?;
    let arrivals = seen.arrivals();
    let later = arrivals.iter().filter(|arrival| arrival.due_ms() >= Some(since.0));
    let came: BTreeSet<String> = later.filter_map(|arrival| arrival.id()).collect();
    let (unknown, ghosts) = (came.difference(&asleep).count(), asleep.difference(&came).count());
    outcome
        .expect(unknown == 0, || Finding::new("came, and the index did not know of it", unknown));
    outcome.expect(ghosts == 0, || Finding::new("asleep, said the index, and never came", ghosts));
    outcome.expect(!asleep.is_empty(), || Finding::new("asleep when the index was asked", 0));
    if unknown + ghosts == 0 {
        asked.until_delivered(&came).await?;
    }
    outcome.notes.push(format!(
        "after three troubles and a census after each that lost something, the index knew the {} messages that slept, and \
         later that they were delivered",
        asleep.len()
    ));
    Ok(())
}
