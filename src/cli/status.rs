//! `dormouse status`: how much sleeps where, and until when at most.

use clap::Args;

use super::paragraph::fold;
use super::table::{Table, facts, left, print, print_json, right, wide};
use super::{Exit, Failure, Output};
use crate::config::{Config, durations};
use crate::operate::status::commands::{Commands, Registrar};
use crate::operate::status::overview::{Overview, Stage};
use crate::operate::status::seen::{Counts, Seen};
use crate::operate::status::stream::Stream;
use crate::operate::status::{self, StatusError};
use crate::operate::{count, number};
use crate::schedule::UnixMs;
use crate::topology::Names;
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Status {
    /// Also levels and queues that hold no message.
    #[arg(long, short)]
    all: bool,
}

const HELP: &str = "\
A message in a queue is due between now and the time under due by. What failed
is due at its next attempt. What slept while the broker was stopped can be
overdue; it goes out as soon as it wakes.

Backlog counts what has expired but is not yet confirmed by where it goes; such
messages are neither ready nor unacked. Unacked and backlog come from the
management API and are up to five seconds old; without it they read ?.

What RabbitMQ takes from nobody, not even for the DLQ, is noted by the worker
that keeps it, every ten seconds.

Exit code 3: exchanges or queues are missing, a queue is full, no worker runs,
messages are parked, RabbitMQ takes some from nobody, or a worker takes no part
in commands.";

/// For a counter that cannot be seen.
const UNKNOWN: &str = "?";

impl Status {
    pub async fn run(self, config: Config, output: Output) -> Result<Exit, Failure> {
        let status = status::status(&config, &Clock::default()).await?;
        match output {
            Output::Json => print_json(&status.document(&config))?,
            Output::Table => print(self.screen(&config, &status))?,
        }
        Ok(if status.is_sound() { Exit::Done } else { Exit::Differs })
    }

    fn screen(&self, config: &Config, status: &status::Status) -> String {
        let status::Status { seen, overview, commands, ledger, .. } = status;
        let mut parts = vec![facts(&about(config, seen, overview))];
        let levels = self.levels(overview);
        if levels.is_empty() {
            parts.push("No message sleeps in a level.".into());
        } else {
            parts.push(levels.to_string());
        }
        parts.push(self.stages(overview).to_string());
        let mut streams = commands.as_ref().map(about_commands).unwrap_or_default();
        streams.extend(ledger.as_ref().map(|ledger| ("ledger", in_stream(ledger))));
        if !streams.is_empty() {
            parts.push(facts(&streams));
        }
        for other in &overview.other_versions {
            let messages = other.counts.ready.unwrap_or(0)
                + other.counts.unacked.unwrap_or(0)
                + other.counts.backlog.unwrap_or(0);
            let until = other
                .latest_due
                .map_or_else(String::new, |latest| format!(", due by {}", clock_time(latest)));
            let messages = count(messages, "message");
            parts.push(format!(
                "Topology version {} still stands: {messages}{until}.",
                other.version
            ));
        }
        if let Err(why) = &seen.rabbitmq_version {
            parts.push(fold(
                &format!("Unacked messages, backlogs and other versions could not be seen: {why}."),
                0,
            ));
        }
        if let Some(ways @ 1..) = seen.ways_to_nowhere {
            let exchanges = match ways as u64 {
                1 => "1 exchange leads back to a queue that is".to_owned(),
                many => format!("{} lead back to queues that are", count(many, "exchange")),
            };
            parts.push(fold(&format!("{exchanges} gone: `dormouse retry prune` deletes them."), 0));
        }
        parts.extend(overview.findings.iter().map(|finding| fold(finding, 0)));
        parts.join("\n\n")
    }

    fn levels(&self, overview: &Overview) -> Table {
        let mut table = Table::new([
            right("level"),
            left("queue"),
            right("ready"),
            right("unacked"),
            right("backlog"),
            left("due from"),
            left("due by"),
        ]);
        let mut row = |level: String, queue: String, counts: Counts, latest: UnixMs| {
            let Counts { ready, unacked, backlog, .. } = counts;
            table.row([
                level,
                queue,
                known(ready),
                known(unacked),
                known(backlog),
                "now".into(),
                clock_time(latest),
            ]);
        };
        let is_shown = |counts: Counts| self.all || counts.holds_messages();
        for level in overview.levels.iter().rev().filter(|level| is_shown(level.counts)) {
            row(level.number.to_string(), "all".into(), level.counts, *level.due.end());
            for queue in level.queues.iter().filter(|queue| is_shown(queue.counts)) {
                row(String::new(), durations::duration(queue.ttl), queue.counts, *queue.due.end());
            }
        }
        table
    }

    fn stages(&self, overview: &Overview) -> Table {
        let mut table = Table::new([
            left("stage"),
            wide("queue"),
            right("ready"),
            right("unacked"),
            right("backlog"),
            right("consumers"),
        ]);
        for Stage { name, queue, counts } in &overview.stages {
            // one of each delay exchange, and seldom used
            if *name == "expired" && !self.all && !counts.holds_messages() {
                continue;
            }
            let Counts { ready, unacked, backlog, consumers } = *counts;
            let cells = [known(ready), known(unacked), known(backlog), known(consumers)];
            let [ready, unacked, backlog, consumers] = cells;
            table.row([(*name).into(), queue.clone(), ready, unacked, backlog, consumers]);
        }
        table
    }
}

fn about(config: &Config, seen: &Seen, overview: &Overview) -> Vec<(&'static str, String)> {
    let first = &config.broker.uri[0];
    let broker = match &seen.rabbitmq_version {
        Ok(version) => format!("RabbitMQ {version} at {first}"),
        Err(_) => first.to_string(),
    };
    let topology = &config.topology;
    let version = Names::of(config).version();
    let levels = format!(
        "version {version}: unit {}, radix {}, longest delay {}",
        durations::duration(topology.unit),
        topology.radix,
        durations::duration(topology.max_delay)
    );
    let asleep = overview.asleep();
    let asleep = [asleep.ready, asleep.backlog].into_iter().flatten().sum();
    vec![
        ("broker", broker),
        ("levels", levels),
        ("asleep", count(asleep, "message")),
        ("workers", known(overview.workers)),
    ]
}

fn about_commands(commands: &Commands) -> Vec<(&'static str, String)> {
    let Commands { queue, waiting, taking_part, taking_in, registrar, log } = commands;
    let waiting = [waiting.ready, waiting.unacked, waiting.backlog];
    let waiting = waiting.into_iter().flatten().reduce(|sum, more| sum + more);
    let decide = format!("{} of {} take part", known(*taking_part), known(*taking_in));
    let registrar = match registrar {
        Some(Registrar { consumer_tag, connection: Some(connection) }) => {
            format!("{consumer_tag} ({connection})")
        }
        Some(Registrar { consumer_tag, connection: None }) => consumer_tag.clone(),
        None if taking_part.is_some() => "none".to_owned(),
        None => UNKNOWN.to_owned(),
    };
    vec![
        ("commands", format!("{} in {queue}", known(waiting))),
        ("workers", decide),
        ("registrar", registrar),
        ("log", in_stream(log)),
    ]
}

fn in_stream(of: &Stream) -> String {
    let files = of
        .bytes_at_most()
        .map_or_else(String::new, |bytes| format!(", at most {} MB", number(bytes / 1_000_000)));
    format!("{} messages in {}{files}", known(of.messages), of.stream)
}

fn known(counter: Option<u64>) -> String {
    counter.map_or_else(|| UNKNOWN.into(), number)
}

/// UTC to the second, rounded up, so that "by" stays true.
fn clock_time(at: UnixMs) -> String {
    let seconds = i64::try_from(at.0.div_ceil(1_000)).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(moment) => moment.strftime("%F %TZ").to_string(),
        Err(_) => at.to_string(),
    }
}

impl From<StatusError> for Failure {
    fn from(StatusError(error): StatusError) -> Self {
        error.into()
    }
}
