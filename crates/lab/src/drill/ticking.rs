//! Drill 18: recurring schedules fire while their workers are killed, one is paused and one is changed. A tick that is missing,
//! or that came as two, is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dormouse::operate::schedules::open;
use dormouse_broker::amqp::{Connection, Consumer};
use dormouse_core::message::{Message, as_integer, as_text};
use dormouse_core::recurring::Definition;
use dormouse_core::recurring::definition::Target;
use dormouse_core::schedule::UnixMs;
use dormouse_core::schedule::headers::{GENERATION, SCHEDULE, TICK_MS};
use fastrand::Rng;

use super::error::DrillError;
use super::recorder::now_ms;
use super::run::Run;
use super::site::{Site, targets, until};
use super::workers::{replace, replace_all};
use super::{Finding, Options, Outcome};

/// Workers that have schedules.
const SETTINGS: [(&str, &str); 1] = [("commands.enabled", "true")];
/// Where they fire to.
const QUEUE: &str = "ticks";
/// How many there are, with intervals of 1 to 5 s.
const SCHEDULES: u64 = 20;
/// One that is paused for good, and one that says something else from then on.
const PAUSED: &str = "tick-0";
const CHANGED: &str = "tick-1";
/// The first tick, after all are made.
const BEGINS: Duration = Duration::from_secs(3);
/// A worker that has died was perhaps the registrar; and what it held goes to another.
const CATCHING_UP: Duration = Duration::from_secs(1);
/// Before a tick, a pause is in time.
const NOTICE_MS: u64 = 1_000;
/// After the last arrival, for what should not come any more.
const LINGER: Duration = Duration::from_secs(3);

/// By schedule and tick, the generations that came.
type Came = BTreeMap<(String, u64), BTreeSet<i64>>;

/// `kill -9` of one of three workers at random moments, and of all at once.
pub async fn fired(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open_with(options, &SETTINGS).await?;
    site.declare(&targets(&[QUEUE])).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut hands = vec![site.hire().await?, site.hire().await?, site.hire().await?];
    let (client, schedules) = open(&site.config).await.map_err(failed)?;
    let begins = UnixMs(now_ms()).plus(BEGINS);
    let ends = begins.plus(options.duration);
    let all: Vec<_> = (0..SCHEDULES).map(|number| definition(number, begins, ends)).collect();
    for definition in &all {
        schedules.put_if(definition, 0).await.map_err(failed)?;
    }
    let mut outcome = Outcome::default();
    let mut run = Run::begin(&site, options.load(), &options.queues());
    let kills = options.times(8);
    let mut paused_ms = u64::MAX;
    for kill in 0..kills {
        run.at(options.moment(&mut rng, BEGINS, options.duration, kill, kills)).await;
        if kill == kills / 2 {
            run.fault_begins();
            schedules.pause(PAUSED, Some("a drill")).await.map_err(failed)?;
            paused_ms = now_ms();
            let changed = Definition { body_text: Some("changed".into()), ..all[1].clone() };
            schedules.put(&changed).await.map_err(failed)?;
            replace_all(&mut site, &mut hands).await?;
            run.fault_ends(CATCHING_UP);
        } else {
            let which = rng.usize(0..hands.len());
            replace(&mut site, &mut hands[which]).await?;
        }
        outcome.faults += 1;
    }
    outcome.verdict = run.end().await?;
    let came = taken(&site, &all, (begins, ends)).await?;
    // each has a key, and is judged though a fault held up all else
    outcome.verdict.keys.delivered = came.len() as u64;
    judge(&mut outcome, &came, &all, (begins, ends), paused_ms);
    outcome.expect_never_early(&hands).await;
    drop(schedules);
    client.close().await;
    site.close().await?;
    Ok(outcome)
}

fn failed(error: impl std::fmt::Display) -> DrillError {
    DrillError::of("a schedule", error.to_string())
}

fn name(number: u64) -> String {
    format!("tick-{number}")
}

fn interval_s(number: u64) -> u64 {
    number % 5 + 1
}

fn definition(number: u64, begins: UnixMs, ends: UnixMs) -> Definition {
    Definition {
        name: name(number),
        every: Some(format!("{}s", interval_s(number))),
        start: Some(begins.to_string()),
        end: Some(ends.to_string()),
        target: Target { queue: Some(QUEUE.into()), ..Target::default() },
        body_text: Some("{{schedule}} {{run}}".into()),
        ..Definition::default()
    }
}

/// The ticks that have to come.
fn wanted(number: u64, (begins, ends): (UnixMs, UnixMs)) -> impl Iterator<Item = u64> {
    (begins.0..=ends.0).step_by(interval_s(number) as usize * 1_000)
}

/// All that comes, until nothing is missing, or for as long as anything may be late.
async fn taken(
    site: &Site,
    all: &[Definition],
    range: (UnixMs, UnixMs),
) -> Result<Came, DrillError> {
    let connection = Connection::open(&site.config.broker, "drill").await?;
    let mut consumer = Consumer::open(&connection).await?;
    consumer.consume(QUEUE, 1_000).await?;
    let mut came = Came::new();
    let expected: usize = (2..all.len() as u64).map(|number| wanted(number, range).count()).sum();
    let waited = until("all ticks have come", async || {
        if let Ok(next) = tokio::time::timeout(LINGER, consumer.next()).await {
            let delivered = next?;
            note(&mut came, &delivered.message);
            consumer.settle(delivered.tag);
            consumer.tend().await?;
            return Ok(false);
        }
        let others = came.keys().filter(|(name, _)| name != PAUSED && name != CHANGED);
        Ok(others.count() >= expected)
    });
    // what is missing is told by the judge
    let _ = waited.await;
    connection.close().await;
    Ok(came)
}

fn note(came: &mut Came, message: &Message) {
    let headers = &message.properties.headers;
    let number = |name: &str| headers.get(name).and_then(as_integer).unwrap_or_default();
    let name = headers.get(SCHEDULE).and_then(as_text).unwrap_or_default().to_owned();
    let tick = u64::try_from(number(TICK_MS)).unwrap_or_default();
    let generation = number(GENERATION);
    came.entry((name, tick)).or_default().insert(generation);
}

fn judge(
    outcome: &mut Outcome,
    came: &Came,
    all: &[Definition],
    range: (UnixMs, UnixMs),
    paused_ms: u64,
) {
    let twice: Vec<_> = came.iter().filter(|(_, as_what)| as_what.len() > 1).collect();
    outcome
        .expect(twice.is_empty(), || Finding::new("ticks that came as two", format!("{twice:?}")));
    let mut missing = Vec::new();
    for number in 0..all.len() as u64 {
        let name = name(number);
        let has_to_come = |tick: &u64| name != PAUSED || *tick + NOTICE_MS < paused_ms;
        let gone = wanted(number, range).filter(has_to_come);
        missing.extend(
            gone.filter(|tick| !came.contains_key(&(name.clone(), *tick)))
                .map(|tick| (name.clone(), tick)),
        );
    }
    outcome.expect(missing.is_empty(), || {
        Finding::new("ticks that are missing", format!("{missing:?}"))
    });
    let late = came.keys().filter(|(name, tick)| name == PAUSED && *tick > paused_ms + NOTICE_MS);
    let late = late.count();
    outcome.expect(late == 0, || Finding::new("ticks that came against a pause", late));
    outcome.notes.push(format!("{} ticks of {} schedules, each once", came.len(), all.len()));
}
