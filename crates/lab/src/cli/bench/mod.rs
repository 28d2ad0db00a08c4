//! `dormouse-lab bench`: what this broker and this configuration can do.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use dormouse::cli::table::{print, print_json};
use dormouse::cli::{self, Exit, Failure, Options, Output};
use dormouse::config::{Config, Log, durations};
use dormouse_core::clock::Clock;
use tokio_util::sync::CancellationToken;

use self::arguments::{Chosen, How, Path};
use self::bar::Bar;
use self::hired::{Hired, ended, new_name};
use self::screen::Measured;
use crate::bench::{
    Asking, Delays, Environment, EnvironmentError, Flow, FlowError, Flown, Profile, Progress,
    Report, Subject, in_flight, trial_rate,
};
use crate::dev::WorkerProcess;

mod arguments;
mod bar;
mod commands;
mod hired;
mod http;
mod index;
#[cfg(feature = "outbox")]
mod outbox;
mod schedules;
mod screen;
mod webhooks;

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

/// The client library reports what is still under way when a connection is closed.
const QUIET: &str = "error,lapin=off";
/// Enough for any run: a full worker refuses.
const MOST_KEYS: u32 = 2_000_000;
/// What sleeps beside the load of the profile backlog.
const PENDING: Delays = Delays { min_ms: 3_600_000, max_ms: 24 * 3_600_000 };

impl Bench {
    pub async fn run(self, options: &Options) -> Result<Exit, Failure> {
        let config = options.load()?;
        cli::log(&Log { filter: QUIET.into(), format: config.log.format })?;
        let how = self.profile.how().clone();
        self.check(&config)?;
        let stop = cli::stop_on_signal()?;
        let hired =
            Hired { program: WorkerProcess::program()?, arguments: self.arguments(options) };
        match self.profile {
            Chosen::Index { pending, .. } => {
                return index::run(&config, &hired, pending, options.output).await;
            }
            Chosen::Webhooks { messages, rate, .. } => {
                return webhooks::run(&config, hired, (messages, rate), &how, options.output).await;
            }
            Chosen::Http { .. } => {
                return http::run(&config, hired, &how, options.output).await;
            }
            Chosen::Schedules { schedules, burst, .. } => {
                let wanted = (schedules, burst, how.duration);
                return schedules::run(&config, &hired, wanted, options.output).await;
            }
            #[cfg(feature = "outbox")]
            Chosen::Outbox { database, rows, .. } => {
                let rows = (rows, how.body_bytes);
                return outbox::run(&config, &hired, &database, rows, options.output).await;
            }
            _ => {}
        }
        let mut environment = if how.in_place {
            Environment::in_place(&config, how.worker_pid.clone()).await?
        } else {
            // to its end, whatever comes: what it has made is to be deleted again
            Environment::own(&config, &new_name(), &hired.program, &[&hired.arguments]).await?
        };
        if let Chosen::Commands { .. } | Chosen::Keys { .. } = &self.profile {
            let told = self.profile.of_commands(&mut environment, &hired, &stop).await;
            return ended(environment, told, |told| {
                told.print(options.output)?;
                Ok(if told.is_good { Exit::Done } else { Exit::Differs })
            })
            .await;
        }
        let subject = how.path.subject(&environment.config);
        let bench = Running { environment: &environment, subject, how: &how, stop: &stop };
        let measured = bench.measure(&self.profile).await;
        let stopped = stop.is_cancelled();
        ended(environment, measured, |measured| {
            if stopped {
                return Err(Failure::failed("stopped before the end: nothing is told"));
            }
            match options.output {
                Output::Json => print_json(&measured.document())?,
                Output::Table => print(measured.screen())?,
            }
            Ok(if measured.is_good() { Exit::Done } else { Exit::Differs })
        })
        .await
    }

    /// Those of its worker.
    fn arguments(&self, options: &Options) -> Vec<String> {
        let mut arguments = options.arguments();
        // its log would run through the table
        let mut set = vec![format!("log.filter={QUIET}")];
        let of_commands = matches!(
            self.profile,
            Chosen::Commands { .. } | Chosen::Keys { .. } | Chosen::Schedules { .. }
        );
        if of_commands || self.profile.how().path == Path::Keyed {
            set.push("commands.enabled=true".into());
        }
        if of_commands {
            set.push(format!("commands.max_keys={MOST_KEYS}"));
        }
        arguments.extend(set.into_iter().flat_map(|set| ["--set".to_owned(), set]));
        arguments
    }

    /// A worker would send what is too long to the DLQ.
    fn check(&self, config: &Config) -> Result<(), Failure> {
        let max = config.topology.max_delay;
        let leaves_much = matches!(
            self.profile,
            Chosen::Backlog { .. }
                | Chosen::Commands { .. }
                | Chosen::Keys { .. }
                | Chosen::Schedules { .. }
                | Chosen::Index { .. }
                | Chosen::Webhooks { .. }
                | Chosen::Http { .. }
        );
        #[cfg(feature = "outbox")]
        let leaves_much = leaves_much || matches!(self.profile, Chosen::Outbox { .. });
        if leaves_much && self.profile.how().in_place {
            return Err(Failure::usage(
                "not with --in-place: what it puts to sleep, and keys, would stay behind",
            ));
        }
        if let Chosen::Schedules { schedules, burst, .. } = self.profile
            && burst > schedules
        {
            return Err(Failure::usage(format!(
                "--burst {burst} is more than --schedules {schedules}"
            )));
        }
        let longest = match &self.profile {
            Chosen::Steady { delays, .. } | Chosen::Max { delays, .. } => delays.delays.max(),
            Chosen::Backlog { .. } => PENDING.max(),
            Chosen::Burst { .. }
            | Chosen::Commands { .. }
            | Chosen::Keys { .. }
            | Chosen::Schedules { .. }
            | Chosen::Index { .. }
            | Chosen::Webhooks { .. }
            | Chosen::Http { .. } => Duration::ZERO,
            #[cfg(feature = "outbox")]
            Chosen::Outbox { .. } => Duration::ZERO,
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

impl Path {
    fn subject(self, config: &Config) -> Subject {
        match self {
            Path::Header => Subject::header(config),
            Path::Keyed => Subject::keyed(config),
            Path::Client => Subject::client(config),
        }
    }
}

impl Chosen {
    async fn of_commands(
        &self,
        environment: &mut Environment,
        hired: &Hired,
        stop: &CancellationToken,
    ) -> Result<commands::Told, Failure> {
        let length = self.how().duration;
        match *self {
            Chosen::Keys { pending, .. } => {
                commands::keys(environment, pending, &hired.program, &hired.arguments).await
            }
            Chosen::Commands { unique, keys, beside, .. } => {
                let asking =
                    if unique { Asking::Uniques } else { Asking::Cancels { keys: keys as usize } };
                commands::commands(environment, asking, length, beside, stop).await
            }
            _ => unreachable!("only these two"),
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
            Chosen::Commands { .. }
            | Chosen::Keys { .. }
            | Chosen::Schedules { .. }
            | Chosen::Index { .. }
            | Chosen::Webhooks { .. }
            | Chosen::Http { .. } => unreachable!("measured elsewhere"),
            #[cfg(feature = "outbox")]
            Chosen::Outbox { .. } => unreachable!("measured elsewhere"),
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
            path: self.how.path.word(),
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
