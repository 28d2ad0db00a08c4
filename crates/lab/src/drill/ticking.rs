//! Drills 18 and 20: recurring schedules fire while their workers are killed and their broker is restarted, or nodes of a
//! cluster are lost, and while they are paused, changed, deleted and made anew. A tick that is missing, came as two, or came
//! against what was said in time is a fault.

use std::time::{Duration, Instant};

use dormouse::operate::schedules::open;
use dormouse_broker::amqp::{Connection, Consumer};
use dormouse_client::{Definition, ScheduleError, Schedules};
use dormouse_core::clock::Clock;
use dormouse_core::message::{Message, as_integer, as_text};
use dormouse_core::recurring::definition::{MisfireText, Target};
use dormouse_core::schedule::UnixMs;
use dormouse_core::schedule::headers::{GENERATION, SCHEDULE, TICK_MS};
use fastrand::Rng;

use super::error::DrillError;
use super::recorder::now_ms;
use super::run::Run;
use super::site::{Site, targets, until};
use super::ticked::{Act, AllCame, History, Judged, Said, judge};
use super::workers::{replace, replace_all};
use super::{Finding, Options, Outcome, cluster};
use crate::dev::WorkerProcess;

/// Workers that have schedules.
const SETTINGS: [(&str, &str); 1] = [("commands.enabled", "true")];
/// Where they fire to.
const QUEUE: &str = "ticks";
/// How many there are, with intervals of 1 to 5 s, and of how many of them something is said.
const SCHEDULES: u32 = 24;
const SPOKEN_OF: u32 = 10;
/// The first tick, after all are made.
const BEGINS: Duration = Duration::from_secs(3);
/// A worker that has died was perhaps the registrar; and what it held goes to another.
const CATCHING_UP: Duration = Duration::from_secs(1);
/// As after any broker's start.
const AFTER_A_START: Duration = Duration::from_secs(4);
/// So much longer than the drill its schedules fire, at most: the broker starts twice.
const STARTS: Duration = Duration::from_secs(40);
/// After the last arrival, for what should not come any more.
const LINGER: Duration = Duration::from_secs(3);
/// Longer than any fault: no answer comes later.
const ANSWERED_WITHIN: Duration = Duration::from_secs(90);
/// Longer than all faults together: no tick counts as missed.
const GRACE: &str = "10m";

/// On one node.
pub async fn fired(options: &Options) -> Result<Outcome, DrillError> {
    let opening = Instant::now();
    let site = Site::open_with(options, &SETTINGS).await?;
    fire(site, options, opening.elapsed(), false).await
}

/// On three.
pub async fn fired_on_three(options: &Options) -> Result<Outcome, DrillError> {
    let opening = Instant::now();
    let site = cluster::open(options, &SETTINGS).await?;
    fire(site, options, opening.elapsed(), true).await
}

/// What is done to those who make schedules fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// `kill -9` of any worker.
    Worker,
    /// Of the one that decides.
    Registrar,
    AllWorkers,
    /// The node, or the one of a cluster that leads the commands or the log.
    Broker {
        kill: bool,
    },
}

const FAULTS: [Fault; 6] = [
    Fault::Registrar,
    Fault::Broker { kill: false },
    Fault::Worker,
    Fault::Broker { kill: true },
    Fault::Registrar,
    Fault::AllWorkers,
];

/// `start` is about what a start of the broker takes.
async fn fire(
    mut site: Site,
    options: &Options,
    start: Duration,
    is_cluster: bool,
) -> Result<Outcome, DrillError> {
    site.declare(&targets(&[QUEUE])).await?;
    let mut hands = vec![site.hire().await?, site.hire().await?, site.hire().await?];
    let (client, schedules) = open(&site.config).await.map_err(failed)?;
    let schedules = schedules.within(ANSWERED_WITHIN);
    let begins = UnixMs(now_ms()).plus(BEGINS);
    let ends = begins.plus(options.duration + (start * 2).min(STARTS));
    let mut speaking = Speaking { schedules: &schedules, begins, ends, histories: Vec::new() };
    for number in 0..SCHEDULES {
        speaking.begin(number).await?;
    }
    let mut run = Run::begin(&site, options.load(), &options.queues());
    let mut outcome = Outcome::default();
    let mut breaking = Breaking {
        site: &mut site,
        hands: &mut hands,
        run: &mut run,
        rng: Rng::with_seed(options.seed),
        is_cluster,
        faults: Vec::new(),
    };
    let (broken, spoken) = tokio::join!(breaking.all(options), speaking.all(options));
    broken?;
    spoken?;
    let faults = breaking.faults;
    let histories = speaking.histories;
    outcome.faults += faults.len() as u32;
    outcome.verdict = run.end().await?;
    let range = begins.0..=ends.0;
    let wanted = histories.iter().flat_map(|it| {
        it.wanted(range.clone(), &faults).map(|tick| (it.name.clone(), tick)).collect::<Vec<_>>()
    });
    let came = taken(&site, &wanted.collect::<Vec<_>>(), ends).await?;
    // each has a key, and is judged though a fault held up all else
    outcome.verdict.keys.delivered = came.len() as u64;
    tell(&mut outcome, &judge(&histories, &came, &range, &faults));
    let said: usize = histories.iter().map(|history| history.said.len()).sum();
    outcome.notes.push(format!(
        "{} ticks of {SCHEDULES} schedules, each once; {} were said of them",
        came.len(),
        said - SCHEDULES as usize
    ));
    outcome.expect_never_early(&hands).await;
    drop(schedules);
    client.close().await;
    Ok(outcome)
}

fn failed(error: impl std::fmt::Display) -> DrillError {
    DrillError::of("a schedule", error.to_string())
}

fn tell(outcome: &mut Outcome, judged: &Judged) {
    for (ticks, what) in [
        (&judged.twice, "ticks that came as two"),
        (&judged.missing, "ticks that are missing"),
        (&judged.against, "ticks that came against a pause or a delete"),
        (&judged.as_before, "ticks that came as they were before an edit"),
    ] {
        outcome.expect(ticks.is_empty(), || {
            let first: Vec<_> = ticks.iter().take(20).collect();
            Finding::new(what, format!("{}, the first {first:?}", ticks.len()))
        });
    }
}

/// Faults under way, and when they were.
struct Breaking<'a> {
    site: &'a mut Site,
    hands: &'a mut Vec<WorkerProcess>,
    run: &'a mut Run,
    rng: Rng,
    is_cluster: bool,
    faults: Vec<(u64, u64)>,
}

impl Breaking<'_> {
    async fn all(&mut self, options: &Options) -> Result<(), DrillError> {
        let times = options.times(12).max(FAULTS.len() as u32);
        for time in 0..times {
            let at = options.moment(&mut self.rng, BEGINS, options.duration, time, times);
            self.run.at(at).await;
            let from_ms = now_ms();
            let catching_up = self.one(FAULTS[time as usize % FAULTS.len()]).await?;
            self.faults.push((from_ms, now_ms() + catching_up.as_millis() as u64));
        }
        Ok(())
    }

    async fn one(&mut self, fault: Fault) -> Result<Duration, DrillError> {
        match fault {
            Fault::Worker => {
                let which = self.rng.usize(0..self.hands.len());
                replace(self.site, &mut self.hands[which]).await?;
                Ok(CATCHING_UP)
            }
            Fault::Registrar => {
                let which = registrar(self.hands).await?;
                replace(self.site, &mut self.hands[which]).await?;
                Ok(CATCHING_UP)
            }
            Fault::AllWorkers => {
                self.run.fault_begins();
                replace_all(self.site, self.hands).await?;
                self.run.fault_ends(CATCHING_UP);
                Ok(CATCHING_UP)
            }
            Fault::Broker { kill } => {
                self.run.fault_begins();
                let down = Duration::from_secs(1).mul_f64(0.5 + self.rng.f64());
                let catching_up = self.broker(kill, down).await?;
                self.run.fault_ends(catching_up);
                Ok(catching_up)
            }
        }
    }

    async fn broker(&mut self, kill: bool, down: Duration) -> Result<Duration, DrillError> {
        if self.is_cluster {
            let names = self.site.names();
            let queue = if kill { names.command() } else { names.log() };
            cluster::lose(self.site, self.hands, &queue, kill, down).await?;
            return Ok(cluster::CATCHING_UP);
        }
        if kill {
            self.site.nodes[0].kill();
        } else {
            self.site.nodes[0].stop().await?;
        }
        tokio::time::sleep(down).await;
        self.site.nodes[0].start_again().await?;
        for hand in self.hands.iter_mut() {
            hand.until_ready().await?;
        }
        Ok(AFTER_A_START)
    }
}

/// The index of the worker that decides.
async fn registrar(hands: &[WorkerProcess]) -> Result<usize, DrillError> {
    let mut found = None;
    until("a worker decides the commands", async || {
        for (index, hand) in hands.iter().enumerate() {
            if hand.decides().await {
                found = Some(index);
            }
        }
        Ok(found.is_some())
    })
    .await?;
    Ok(found.expect("it was waited for"))
}

/// What is said of schedules, one thing after another.
struct Speaking<'a> {
    schedules: &'a Schedules,
    begins: UnixMs,
    ends: UnixMs,
    histories: Vec<History>,
}

impl Speaking<'_> {
    async fn begin(&mut self, number: u32) -> Result<(), DrillError> {
        let every_ms = u64::from(number % 5 + 1) * 1_000;
        let history = History { name: format!("tick-{number}"), every_ms, said: Vec::new() };
        self.histories.push(history);
        self.say(number as usize, Act::Put(0)).await
    }

    async fn all(&mut self, options: &Options) -> Result<(), DrillError> {
        let mut rng = Rng::with_seed(options.seed ^ 18);
        let times = options.times(60);
        let begun = tokio::time::Instant::now();
        for time in 0..times {
            let at = options.moment(&mut rng, BEGINS, options.duration, time, times);
            tokio::time::sleep_until(begun + at).await;
            let which = rng.usize(0..SPOKEN_OF as usize);
            let history = &self.histories[which];
            // of what nobody answered, it is not known how it stands
            if history.said.iter().any(|said| said.held_ms.is_none()) {
                continue;
            }
            self.say(which, next(history, &mut rng)).await?;
        }
        Ok(())
    }

    async fn say(&mut self, which: usize, act: Act) -> Result<(), DrillError> {
        let History { name, every_ms, .. } = &self.histories[which];
        let sent_ms = now_ms();
        let told = match act {
            Act::Put(variant) | Act::Edit(variant) => {
                self.schedules.put(&self.definition(name, *every_ms, variant)).await
            }
            Act::Pause => self.schedules.pause(name, Some("a drill")).await,
            Act::Resume => self.schedules.resume(name).await,
            Act::Delete => self.schedules.delete(name, None).await,
        };
        let held_ms = match told {
            Ok(_) => Some(now_ms()),
            // decided by a registrar that ended before it could answer, for or against it
            Err(ScheduleError::Refused(why)) if why.contains("ask again") => None,
            Err(ScheduleError::Refused(why)) => {
                return Err(failed(format!("{act:?} {name}: {why}")));
            }
            Err(ScheduleError::Command(_)) => None,
        };
        self.histories[which].said.push(Said { act, sent_ms, held_ms });
        Ok(())
    }

    fn definition(&self, name: &str, every_ms: u64, variant: u32) -> Definition {
        Definition {
            name: name.to_owned(),
            every: Some(format!("{every_ms}ms")),
            start: Some(self.begins.to_string()),
            end: Some(self.ends.to_string()),
            target: Target { queue: Some(QUEUE.into()), ..Target::default() },
            body_text: Some(variant.to_string()),
            misfire: Some(MisfireText { grace: Some(GRACE.into()), ..MisfireText::default() }),
            ..Definition::default()
        }
    }
}

/// What can be said next.
fn next(history: &History, rng: &mut Rng) -> Act {
    let variant = history.said.iter().filter(|said| matches!(said.act, Act::Put(_) | Act::Edit(_)));
    let variant = variant.count() as u32;
    let stands = history.said.iter().rfind(|said| !matches!(said.act, Act::Edit(_)));
    match stands.map(|said| said.act) {
        Some(Act::Delete) | None => Act::Put(variant),
        Some(Act::Pause) => {
            [Act::Resume, Act::Resume, Act::Edit(variant), Act::Delete][rng.usize(0..4)]
        }
        Some(_) => {
            [Act::Pause, Act::Edit(variant), Act::Edit(variant), Act::Delete][rng.usize(0..4)]
        }
    }
}

/// All that comes, until nothing is missing, or for as long as anything may be late.
async fn taken(site: &Site, wanted: &[(String, u64)], ends: UnixMs) -> Result<AllCame, DrillError> {
    let connection = Connection::open(&site.config.broker, "drill").await?;
    let mut consumer = Consumer::open(&connection).await?;
    consumer.consume(QUEUE, 1_000).await?;
    let mut came = AllCame::new();
    tokio::time::sleep(Clock::default().until(ends)).await;
    let waited = until("all ticks have come", async || {
        if let Ok(next) = tokio::time::timeout(LINGER, consumer.next()).await {
            let delivered = next?;
            note(&mut came, &delivered.message);
            consumer.settle(delivered.tag);
            consumer.tend().await?;
            return Ok(false);
        }
        Ok(wanted.iter().all(|tick| came.contains_key(tick)))
    });
    // what is missing is told by the judge
    let _ = waited.await;
    connection.close().await;
    Ok(came)
}

fn note(came: &mut AllCame, message: &Message) {
    let headers = &message.properties.headers;
    let number = |name: &str| headers.get(name).and_then(as_integer).unwrap_or_default();
    let name = headers.get(SCHEDULE).and_then(as_text).unwrap_or_default().to_owned();
    let tick = u64::try_from(number(TICK_MS)).unwrap_or_default();
    let came = came.entry((name, tick)).or_default();
    came.generations.insert(number(GENERATION));
    let variant = std::str::from_utf8(&message.body).ok().and_then(|body| body.parse().ok());
    came.variants.insert(variant.unwrap_or_default());
}
