//! Many recurring schedules: how long until they stand, how soon the next worker has them, how late their ticks are, and
//! many that are due at one moment.

use std::path::Path;
use std::time::{Duration, Instant};

use dormouse::operate::schedules::{File, apply, open, plan};
use dormouse_broker::amqp::AmqpError;
use dormouse_client::{ClientError, ScheduleError, Schedules};
use dormouse_core::clock::Clock;
use dormouse_core::control::schedules::command::List;
use dormouse_core::recurring::definition::Target;
use dormouse_core::recurring::{Definition, Schedule};
use dormouse_core::schedule::UnixMs;
use serde::Serialize;

use super::environment::{Environment, EnvironmentError, spawn};
use super::ticks::{Came, Taking, Ticked};
use super::usage::Usage;

/// What to run, with a worker that takes commands.
#[derive(Debug, Clone, Copy)]
pub struct ScheduleFlow {
    /// Each fires once a minute, spread evenly over it; half by an expression in one of some zones, half by an interval.
    pub schedules: usize,
    /// Of these, so many are changed in the end to fire once, all at one moment.
    pub burst: usize,
    /// How long ticks are measured.
    pub length: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Scheduled {
    pub schedules: usize,
    /// As `dormouse schedule apply` does it: nothing stands, all stand and nothing changes.
    pub apply_seconds: f64,
    pub apply_again_seconds: f64,
    /// The worker's, resident: without schedules, with all of them, after the ticks, and that of the next worker.
    pub memory_bytes: Memory,
    pub steady: Ticked,
    pub steady_per_second: f64,
    /// Of the worker meanwhile, in cores.
    pub steady_cores: Option<f64>,
    pub start: ScheduleStart,
    pub burst: Ticked,
}

/// None where it cannot be seen.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    pub before: Option<u64>,
    pub applied: Option<u64>,
    pub ticked: Option<u64>,
    pub next_worker: Option<u64>,
}

/// Seconds from the start of the next worker's process.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ScheduleStart {
    /// It is ready.
    pub ready_seconds: f64,
    /// It has answered a command that was waiting for it: it decides, and knows all schedules.
    pub decides_seconds: f64,
}

/// Why it cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum ScheduledError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error("schedule {name:?} was not applied: {error}")]
    NotApplied { name: String, error: ScheduleError },
    #[error("{stand} of {wanted} schedules stand at the next worker")]
    Gone { stand: usize, wanted: usize },
    #[error("applying what is due at one moment took longer than was left for it: {0:.1} s")]
    TooSlow(f64),
}

const MINUTE_MS: u64 = 60_000;
/// Of those with an expression, by turns.
const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];
/// As large as other messages of the bench.
const BODY: usize = 256;
/// From all stand to the first tick that is measured: what came meanwhile is taken first.
const SETTLED: Duration = Duration::from_secs(10);
/// Before a burst, beside the time that it takes to apply.
const NOTICE: Duration = Duration::from_secs(10);
/// A multiple of what a start takes on the slowest machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);

impl ScheduleFlow {
    /// Also stops the worker, and starts `program` with `arguments`.
    pub async fn run(
        &self,
        environment: &mut Environment,
        program: &Path,
        arguments: &[String],
    ) -> Result<Scheduled, ScheduledError> {
        environment.config.commands.enabled = true;
        let (client, schedules) = open(&environment.config).await?;
        let schedules = schedules.within(ANSWERED_WITHIN);
        let mut memory = Memory { before: bytes(environment), ..Memory::default() };
        let all: Vec<_> = (0..self.schedules).map(|it| minutely(it, &environment.target)).collect();
        let apply_seconds = applied(&schedules, all.clone()).await?;
        let apply_again_seconds = applied(&schedules, all.clone()).await?;
        memory.applied = bytes(environment);

        let from = Clock::default().now().plus(SETTLED);
        let to = from.plus(self.length);
        let mut came = Came::of(all.iter().enumerate().flat_map(|(number, schedule)| {
            let ticks = schedule.timing.after(UnixMs(from.0 - 1));
            ticks.take_while(move |tick| *tick < to).map(move |tick| (name(number), tick.0))
        }));
        let mut taking = Taking::open(environment).await?;
        taking.until(from, &mut came).await?;
        let before = usage(environment);
        taking.until(to, &mut came).await?;
        let after = usage(environment);
        taking.rest(to, &mut came).await?;
        taking.close().await;
        memory.ticked = bytes(environment);
        let steady = came.told(from);
        let cores = before.zip(after).map(|(before, after)| {
            after.cpu.saturating_sub(before.cpu).as_secs_f64() / self.length.as_secs_f64()
        });

        let start = started(environment, &schedules, program, arguments).await?;
        let stand = schedules.list().await?.schedules.len();
        if stand != self.schedules {
            return Err(ScheduledError::Gone { stand, wanted: self.schedules });
        }
        memory.next_worker = bytes(environment);
        let each = apply_seconds / self.schedules as f64;
        let burst = self.burst(environment, &schedules, each).await?;
        drop(schedules);
        client.close().await;
        Ok(Scheduled {
            schedules: self.schedules,
            apply_seconds,
            apply_again_seconds,
            memory_bytes: memory,
            steady_per_second: steady.wanted as f64 / self.length.as_secs_f64(),
            steady,
            steady_cores: cores,
            start,
            burst,
        })
    }

    /// The first of them fire once, at one moment, beside the rest.
    async fn burst(
        &self,
        environment: &Environment,
        schedules: &Schedules,
        each_seconds: f64,
    ) -> Result<Ticked, ScheduledError> {
        let ahead = NOTICE + Duration::from_secs_f64(3.0 * each_seconds * self.burst as f64);
        let at = Clock::default().now().plus(ahead).0.next_multiple_of(1_000);
        let at = UnixMs(at);
        let all = (0..self.burst).map(|number| once(number, at, &environment.target)).collect();
        let took = applied(schedules, all).await?;
        if Clock::default().now().plus(Duration::from_secs(1)) > at {
            return Err(ScheduledError::TooSlow(took));
        }
        let mut came = Came::of((0..self.burst).map(|number| (name(number), at.0)));
        let mut taking = Taking::open(environment).await?;
        taking.rest(at, &mut came).await?;
        taking.close().await;
        Ok(came.told(at))
    }
}

fn usage(environment: &Environment) -> Option<Usage> {
    environment.watched().look().all_workers()
}

fn bytes(environment: &Environment) -> Option<u64> {
    usage(environment).map(|usage| usage.memory_bytes)
}

fn name(number: usize) -> String {
    format!("bench-{number}")
}

fn schedule(definition: Definition) -> Schedule {
    Schedule::new(definition).expect("what the bench writes is right")
}

fn basic(number: usize, target: &str) -> Definition {
    Definition {
        name: name(number),
        target: Target { queue: Some(target.to_owned()), ..Target::default() },
        body_text: Some(format!("{{{{run}}}}{}", ".".repeat(BODY))),
        ..Definition::default()
    }
}

fn minutely(number: usize, target: &str) -> Schedule {
    let second = (number / 2) as u64 % 60;
    let basic = basic(number, target);
    schedule(match number % 2 {
        0 => Definition {
            cron: Some(format!("{second} * * * * *")),
            zone: Some(ZONES[number / 2 % ZONES.len()].into()),
            ..basic
        },
        _ => Definition {
            every: Some(format!("{MINUTE_MS}ms")),
            start: Some(UnixMs(second * 1_000).to_string()),
            ..basic
        },
    })
}

fn once(number: usize, at: UnixMs, target: &str) -> Schedule {
    let (start, end) = (Some(at.to_string()), Some(at.to_string()));
    schedule(Definition { every: Some("1d".into()), start, end, ..basic(number, target) })
}

/// How long it takes, in seconds.
async fn applied(schedules: &Schedules, all: Vec<Schedule>) -> Result<f64, ScheduledError> {
    let began = Instant::now();
    let file = File { schedules: all };
    let stand = schedules.list().await?;
    let plan = plan(&file, &stand.schedules, false);
    for applied in apply(schedules, &file, plan).await {
        if let Some(Err(error)) = applied.outcome {
            return Err(ScheduledError::NotApplied { name: applied.step.name, error });
        }
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn started(
    environment: &mut Environment,
    schedules: &Schedules,
    program: &Path,
    arguments: &[String],
) -> Result<ScheduleStart, ScheduledError> {
    for worker in environment.workers.drain(..) {
        worker.stop().await.map_err(EnvironmentError::from)?;
    }
    let began = Instant::now();
    let uri = environment.config.broker.uri[0].expose();
    let mut worker = spawn(program, uri, arguments).map_err(EnvironmentError::from)?;
    let ready = async {
        let ready = worker.until_ready().await;
        ready.map(|()| began.elapsed().as_secs_f64())
    };
    let decides = async {
        let asked = List { limit: Some(1), next: Some(0), ..List::default() };
        schedules.page(&asked).await.map(|_| began.elapsed().as_secs_f64())
    };
    let (ready, decides) = tokio::join!(ready, decides);
    environment.workers.push(worker);
    Ok(ScheduleStart {
        ready_seconds: ready.map_err(EnvironmentError::from)?,
        decides_seconds: decides?,
    })
}
