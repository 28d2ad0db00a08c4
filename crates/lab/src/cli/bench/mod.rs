//! `dormouse-lab bench`: what this broker and this configuration can do.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use dormouse::cli::table::{print, print_json};
use dormouse::cli::{self, Exit, Failure, Options, Output};
use dormouse::config::{Config, Log, durations};
use dormouse_core::clock::Clock;
use tokio_util::sync::CancellationToken;

use self::bar::Bar;
use self::screen::Measured;
use crate::bench::{
    Delays, Environment, EnvironmentError, Flow, FlowError, Flown, Profile, Progress, Report,
    Subject, in_flight, trial_rate,
};
use crate::dev::WorkerProcess;

mod bar;
mod screen;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Bench {
    #[command(subcommand)]
    profile: Chosen,
}

const HELP: &str = "\
The bench makes a virtual host of its own, runs a worker of its own in it, and
deletes both in the end, so it needs a user with the tag administrator. The
configuration is yours: try another unit with --set topology.unit=5s. With
--in-place it uses the virtual host of the broker's URI and the workers there.

Lateness counts from when a message was meant to be published, plus its delay,
to its arrival at a consumer: a publisher that falls behind is late too.

Exit code 3: messages were early, lost, doubled or refused.";

#[derive(Debug, Subcommand)]
enum Chosen {
    /// So many messages a second: how late are they?
    Steady {
        /// Messages a second.
        #[arg(long, default_value_t = 1_000.0, value_name = "MESSAGES", value_parser = rate)]
        rate: f64,
        #[command(flatten)]
        delays: Range,
        #[command(flatten)]
        how: How,
    },
    /// Many messages due at one moment: how long until all are out?
    Burst {
        /// Messages.
        #[arg(long, short = 'n', default_value_t = 10_000, value_name = "COUNT", value_parser = count())]
        messages: u64,
        #[command(flatten)]
        how: How,
    },
    /// A steady load while many others sleep, and what those cost.
    Backlog {
        /// Messages put to sleep first, for an hour to a day.
        #[arg(long, default_value_t = 100_000, value_name = "COUNT", value_parser = count())]
        pending: u64,
        /// Messages a second, beside them.
        #[arg(long, default_value_t = 500.0, value_name = "MESSAGES", value_parser = rate)]
        rate: f64,
        #[command(flatten)]
        delays: Range,
        #[command(flatten)]
        how: How,
    },
    /// As many messages as confirms allow: how many a second?
    Max {
        /// Messages published and not arrived at a time; by default found by a short trial.
        #[arg(long, value_name = "COUNT", value_parser = count())]
        in_flight: Option<u64>,
        #[command(flatten)]
        delays: Range,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Clone, Copy, Args)]
struct Range {
    /// Delays, evenly spread between two durations.
    #[arg(long = "delay", default_value = "1s..10s", value_parser = delays, value_name = "FROM..TO")]
    delays: Delays,
}

#[derive(Debug, Clone, Args)]
struct How {
    /// Who plans: a worker's intake by the header, or the client.
    #[arg(long, value_enum, default_value_t = Path::Header)]
    path: Path,
    /// How long to measure, after a warm-up of the longest delay.
    #[arg(long, default_value = "10s", value_parser = measured, value_name = "DURATION")]
    duration: Duration,
    /// Publishes without a confirm at a time.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT", value_parser = count())]
    unconfirmed: u64,
    /// Size of each body.
    #[arg(long, default_value_t = 256, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(24..=1_048_576))]
    body_bytes: u64,
    /// Measure in the virtual host of the broker's URI, with the workers there.
    #[arg(long)]
    in_place: bool,
    /// With --in-place: a worker on this machine, to tell its CPU time. May be repeated.
    #[arg(long, value_name = "PID", requires = "in_place")]
    worker_pid: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Path {
    Header,
    Client,
}

/// The client library reports what is still under way when a connection is closed.
const QUIET: &str = "error,lapin=off";
/// What sleeps beside the load of the profile backlog.
const PENDING: Delays = Delays { min_ms: 3_600_000, max_ms: 24 * 3_600_000 };

impl Bench {
    pub async fn run(self, options: &Options) -> Result<Exit, Failure> {
        let config = options.load()?;
        cli::log(&Log { filter: QUIET.into(), format: config.log.format })?;
        let how = self.profile.how().clone();
        self.check(&config)?;
        let stop = cli::stop_on_signal()?;
        let environment = if how.in_place {
            Environment::in_place(&config, how.worker_pid.clone()).await?
        } else {
            let program = WorkerProcess::program()?;
            let name = format!("dormouse-bench-{}", uuid::Uuid::now_v7().simple());
            let mut arguments = options.arguments();
            // its log would run through the table
            arguments.extend(["--set".into(), format!("log.filter={QUIET}")]);
            // to its end, whatever comes: what it has made is to be deleted again
            Environment::own(&config, &name, &program, &[&arguments]).await?
        };
        let subject = match how.path {
            Path::Header => Subject::header(&environment.config),
            Path::Client => Subject::client(&environment.config),
        };
        let bench = Running { environment: &environment, subject, how: &how, stop: &stop };
        let measured = bench.measure(&self.profile).await;
        if let Some(problem) = environment.leave().await {
            eprintln!("dormouse-lab: {problem}");
        }
        let measured = measured?;
        if stop.is_cancelled() {
            return Err(Failure::failed("stopped before the end: nothing is told"));
        }
        match options.output {
            Output::Json => print_json(&measured.document())?,
            Output::Table => print(measured.screen())?,
        }
        Ok(if measured.is_good() { Exit::Done } else { Exit::Differs })
    }

    /// A worker would send what is too long to the DLQ.
    fn check(&self, config: &Config) -> Result<(), Failure> {
        let max = config.topology.max_delay;
        if let Chosen::Backlog { how: How { in_place: true, .. }, .. } = &self.profile {
            return Err(Failure::usage(
                "backlog and --in-place: what it puts to sleep would stay behind",
            ));
        }
        let longest = match &self.profile {
            Chosen::Steady { delays, .. } | Chosen::Max { delays, .. } => delays.delays.max(),
            Chosen::Backlog { .. } => PENDING.max(),
            Chosen::Burst { .. } => Duration::ZERO,
        };
        if longest > max {
            let (longest, max) = (durations::duration(longest), durations::duration(max));
            return Err(Failure::usage(format!(
                "{longest} is longer than the longest delay, topology.max_delay = {max}"
            )));
        }
        Ok(())
    }
}

impl Chosen {
    fn how(&self) -> &How {
        match self {
            Chosen::Steady { how, .. }
            | Chosen::Burst { how, .. }
            | Chosen::Backlog { how, .. }
            | Chosen::Max { how, .. } => how,
        }
    }
}

struct Running<'a> {
    environment: &'a Environment,
    subject: Subject,
    how: &'a How,
    stop: &'a CancellationToken,
}

impl Running<'_> {
    async fn measure(&self, chosen: &Chosen) -> Result<Measured, Failure> {
        let (mut pending, mut before) = (None, None);
        let profile = match *chosen {
            Chosen::Steady { rate, delays, .. } => {
                Profile::Steady { per_second: rate, delays: delays.delays }
            }
            Chosen::Burst { messages, .. } => Profile::Burst { messages },
            Chosen::Max { in_flight: Some(in_flight), delays, .. } => {
                Profile::Max { delays: delays.delays, in_flight }
            }
            Chosen::Max { in_flight: None, delays, .. } => self.trial(delays.delays).await?,
            Chosen::Backlog { pending: messages, rate, delays, .. } => {
                before = Some(self.environment.watched().look());
                let profile = Profile::Pending { messages, delays: PENDING };
                let sleeping = Subject::client(&self.environment.config);
                let (_, report) = self.fly(profile, &sleeping, "putting to sleep").await?;
                pending = Some(report.confirmed);
                Profile::Steady { per_second: rate, delays: delays.delays }
            }
        };
        let after = self.environment.watched().look();
        let (flown, report) = self.fly(profile, &self.subject, "measuring").await?;
        Ok(Measured {
            profile,
            path: if self.how.path == Path::Header { "header" } else { "client" },
            pending,
            pending_looks: before.map(|before| (before, after)),
            lateness_us: crate::bench::lateness(&flown),
            unit: self.environment.config.topology.unit,
            radix: self.environment.config.topology.radix,
            report,
        })
    }

    /// A short flood shows how many to keep in flight.
    async fn trial(&self, delays: Delays) -> Result<Profile, Failure> {
        let flow = self.flow(Profile::Trial { delays }, &self.subject);
        let flown = self.watch(flow, "a trial").await?;
        let total = Duration::from_micros(flown.ended_us - flown.started_us);
        let per_second = trial_rate(flown.record.arrived, total, delays);
        Ok(Profile::Max { delays, in_flight: in_flight(per_second, delays) })
    }

    async fn fly(
        &self,
        profile: Profile,
        subject: &Subject,
        what: &str,
    ) -> Result<(Flown, Report), Failure> {
        let flown = self.watch(self.flow(profile, subject), what).await?;
        let report = Report::of(&flown);
        Ok((flown, report))
    }

    fn flow(&self, profile: Profile, subject: &Subject) -> Flow {
        let seed = Clock::default().now().0;
        let timing = profile.timing(seed, self.how.duration, 1, u64::MAX);
        Flow::new(self.environment, subject.clone(), timing)
            .unconfirmed(self.how.unconfirmed as usize)
            .body_bytes(self.how.body_bytes as usize)
    }

    async fn watch(&self, flow: Flow, what: &str) -> Result<Flown, Failure> {
        let progress = Arc::new(Progress::default());
        let bar = Bar::new(what, &flow, progress.clone());
        let flown = tokio::select! {
            flown = flow.run(progress, self.stop.clone()) => flown,
            () = bar.draw() => unreachable!("it only draws"),
        };
        Ok(flown?)
    }
}

impl From<EnvironmentError> for Failure {
    fn from(error: EnvironmentError) -> Self {
        match error {
            EnvironmentError::Amqp(error) => error.into(),
            EnvironmentError::Declare(error) => error.into(),
            error @ EnvironmentError::Management(_) => Self::new(Exit::Refused, error.to_string()),
            error @ EnvironmentError::NoProcess(_) => Self::usage(error.to_string()),
            error @ (EnvironmentError::Worker(_) | EnvironmentError::NoWorker { .. }) => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<FlowError> for Failure {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::Amqp(error) => error.into(),
            error @ FlowError::Part(_) => Self::failed(error.to_string()),
        }
    }
}

fn count() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=100_000_000)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=1_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("write a number of messages a second, 0.1 to 1000000".into()),
    }
}

fn measured(text: &str) -> Result<Duration, String> {
    let duration = durations::parse_duration(text)?;
    let (min, max) = (Duration::from_millis(100), Duration::from_secs(3_600));
    if !(min..=max).contains(&duration) {
        return Err("must be 100ms to 1h".into());
    }
    Ok(duration)
}

fn delays(text: &str) -> Result<Delays, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (durations::parse_duration(from)?, durations::parse_duration(to)?);
    if from > to {
        return Err("the first must be the shorter one".into());
    }
    // a run lasts more than twice the longest
    if to > Duration::from_secs(3_600) {
        return Err("must be at most 1h: a run waits for it".into());
    }
    Ok(Delays { min_ms: from.as_millis() as u64, max_ms: to.as_millis() as u64 })
}
