//! What the bench is asked for.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use dormouse::config::durations;

use crate::bench::Delays;

#[derive(Debug, Subcommand)]
pub enum Chosen {
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
    /// Cancels or unique schedules: how many a second are decided and answered?
    Commands {
        /// Unique schedules, instead of cancels.
        #[arg(long)]
        unique: bool,
        /// Keys of each cancel.
        #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000))]
        keys: u64,
        /// Schedules a second beside them.
        #[arg(long, default_value_t = 0.0, value_name = "MESSAGES", value_parser = rate_or_none)]
        beside: f64,
        #[command(flatten)]
        how: How,
    },
    /// A ledger of many messages: how fast an index reads it, and answers?
    Index {
        /// Messages that sleep.
        #[arg(long, default_value_t = 1_000_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
        pending: u64,
        #[command(flatten)]
        how: How,
    },
    /// Scheduling over HTTP, beside the library: how many a second?
    Http {
        #[command(flatten)]
        how: How,
    },
    /// Rows of an outbox in PostgreSQL: how many a second are relayed?
    #[cfg(feature = "outbox")]
    Outbox {
        /// The server: the bench makes a schema of its own there, dormouse_bench, and drops it.
        #[arg(long, env = "DORMOUSE_OUTBOX_URI", hide_env = true, value_name = "URI")]
        database: String,
        /// Rows of each kind.
        #[arg(long, default_value_t = 50_000, value_name = "COUNT", value_parser = count())]
        rows: u64,
        #[command(flatten)]
        how: How,
    },
    /// Webhooks to receivers on this machine: how many a second, and how late beside a host that hangs?
    Webhooks {
        /// Webhooks due at one moment, to one receiver.
        #[arg(long, short = 'n', default_value_t = 10_000, value_name = "COUNT", value_parser = count())]
        messages: u64,
        /// Webhooks a second, to ten receivers.
        #[arg(long, default_value_t = 300.0, value_name = "WEBHOOKS", value_parser = rate)]
        rate: f64,
        #[command(flatten)]
        how: How,
    },
    /// Many recurring schedules: how soon they stand, a worker's start with them, and how late their ticks are.
    Schedules {
        /// Schedules, each of which fires once a minute.
        #[arg(long, short = 'n', default_value_t = 10_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(60..=10_000))]
        schedules: u64,
        /// Of these, so many are due at one moment in the end.
        #[arg(long, default_value_t = 1_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=10_000))]
        burst: u64,
        #[command(flatten)]
        how: How,
    },
    /// Many keys: their memory, and a worker's start with them.
    Keys {
        /// Keys that are remembered.
        #[arg(long, default_value_t = 1_000_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1_000..=1_900_000))]
        pending: u64,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Clone, Copy, Args)]
pub struct Range {
    /// Delays, evenly spread between two durations.
    #[arg(long = "delay", default_value = "1s..10s", value_parser = delays, value_name = "FROM..TO")]
    pub delays: Delays,
}

#[derive(Debug, Clone, Args)]
pub struct How {
    /// Who plans: a worker's intake by the header, or the client.
    #[arg(long, value_enum, default_value_t = Path::Header)]
    pub path: Path,
    /// How long to measure, after a warm-up of the longest delay.
    #[arg(long, default_value = "10s", value_parser = measured, value_name = "DURATION")]
    pub duration: Duration,
    /// Publishes without a confirm at a time.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT", value_parser = count())]
    pub unconfirmed: u64,
    /// Size of each body.
    #[arg(long, default_value_t = 256, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(24..=1_048_576))]
    pub body_bytes: u64,
    /// Measure in the virtual host of the broker's URI, with the workers there.
    #[arg(long)]
    pub in_place: bool,
    /// With --in-place: a worker on this machine, to tell its CPU time. May be repeated.
    #[arg(long, value_name = "PID", requires = "in_place")]
    pub worker_pid: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Path {
    Header,
    /// By the header, each message with a key that nobody cancels.
    Keyed,
    Client,
}

impl Path {
    /// As documents call it.
    pub fn word(self) -> &'static str {
        match self {
            Path::Header => "header",
            Path::Keyed => "keyed",
            Path::Client => "client",
        }
    }
}

impl Chosen {
    pub fn how(&self) -> &How {
        match self {
            Chosen::Steady { how, .. }
            | Chosen::Burst { how, .. }
            | Chosen::Backlog { how, .. }
            | Chosen::Commands { how, .. }
            | Chosen::Keys { how, .. }
            | Chosen::Schedules { how, .. }
            | Chosen::Index { how, .. }
            | Chosen::Http { how }
            | Chosen::Webhooks { how, .. }
            | Chosen::Max { how, .. } => how,
            #[cfg(feature = "outbox")]
            Chosen::Outbox { how, .. } => how,
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

fn rate_or_none(text: &str) -> Result<f64, String> {
    if text == "0" { Ok(0.0) } else { rate(text) }
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
