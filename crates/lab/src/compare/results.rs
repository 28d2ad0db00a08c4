//! Everything that was measured, as it goes into the JSON.

use std::time::Duration;

use serde::Serialize;

use crate::bench::{Cost, Report, Subject, WindowReport, median};

#[derive(Debug, Serialize)]
pub struct Results {
    pub machine: String,
    pub started: String,
    pub brokers: Vec<BrokerResults>,
}

#[derive(Debug, Serialize)]
pub struct BrokerResults {
    pub version: String,
    /// Before and after each part.
    pub load_averages: Vec<f64>,
    pub max: Vec<MaxRow>,
    pub steady: Vec<SteadyRow>,
    pub burst: Option<Burst>,
    pub backlog: Option<Backlog>,
    pub memory: Option<Memory>,
    pub profile: Vec<ProfileRow>,
}

#[derive(Debug, Serialize)]
pub struct MaxRow {
    pub name: String,
    pub unit_ms: Option<f64>,
    /// Messages that the worker handles for each one: none, delivery, or intake and delivery.
    pub relays: u32,
    pub rounds: Vec<Round>,
}

#[derive(Debug, Serialize)]
pub struct Round {
    pub per_second: f64,
    /// Of what was delivered, by worker.
    pub shares: Vec<f64>,
    pub peak_held: Option<f64>,
    pub load_average: Option<f64>,
    pub report: Report,
}

/// A subject at a steady rate.
#[derive(Debug, Serialize)]
pub struct SteadyRow {
    pub name: &'static str,
    pub per_second: f64,
    pub windows: Vec<WindowReport>,
}

#[derive(Debug, Serialize)]
pub struct Burst {
    pub messages: u64,
    /// From the due time, or the relay's start, to the last arrival.
    pub relay_ms: Vec<f64>,
    pub burst_ms: Vec<f64>,
    pub early: u64,
}

#[derive(Debug, Serialize)]
pub struct Backlog {
    pub pending: u64,
    pub empty: Side,
    pub full: Side,
    pub worker_growth_bytes: Option<f64>,
    pub restart_seconds: Vec<f64>,
}

/// One of the two cascades.
#[derive(Debug, Default, Serialize)]
pub struct Side {
    pub per_second: Vec<f64>,
    pub lateness_p99_ms: Vec<f64>,
}

#[derive(Debug, Serialize)]
pub struct Memory {
    pub messages: u64,
    pub bytes_per_sleeper: f64,
    pub bytes_per_plain: f64,
}

#[derive(Debug, Serialize)]
pub struct ProfileRow {
    pub name: String,
    pub per_second: f64,
    /// Broker's CPU time for each message, µs.
    pub broker_us: Option<f64>,
    /// Reductions for each message: the work, where CPU time is also what a busy machine adds to it.
    pub reductions: f64,
    /// Shares of all reductions, the largest first.
    pub shares: Vec<(Work, f64)>,
}

/// Of the broker's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    Connections,
    Channels,
    Levels,
    DeadLettering,
    Intake,
    Due,
    OtherQueues,
    WriteAheadLog,
    Other,
}

impl Work {
    pub const ALL: [Work; 9] = [
        Work::Connections,
        Work::Channels,
        Work::Levels,
        Work::DeadLettering,
        Work::Intake,
        Work::Due,
        Work::OtherQueues,
        Work::WriteAheadLog,
        Work::Other,
    ];

    pub fn words(self) -> &'static str {
        match self {
            Work::Connections => "connections",
            Work::Channels => "channels",
            Work::Levels => "level queues",
            Work::DeadLettering => "dead-lettering",
            Work::Intake => "intake queue",
            Work::Due => "due queue",
            Work::OtherQueues => "other queues, the target",
            Work::WriteAheadLog => "write-ahead log, segments",
            Work::Other => "other",
        }
    }

    /// By the module that a process runs, and the name of the queue whose Raft member it is.
    pub fn of(module: &str, queue: &str) -> Work {
        match module {
            "rabbit_reader" | "rabbit_writer" => Work::Connections,
            "rabbit_channel" => Work::Channels,
            "rabbit_fifo_dlx_worker" => Work::DeadLettering,
            "ra_log_wal" | "ra_log_segment_writer" => Work::WriteAheadLog,
            "ra_server_proc" if queue.contains(".intake") => Work::Intake,
            "ra_server_proc" if queue.ends_with(".due") => Work::Due,
            "ra_server_proc"
                if ["level", "delayed", "hop"].iter().any(|word| queue.contains(word)) =>
            {
                Work::Levels
            }
            "ra_server_proc" => Work::OtherQueues,
            _ => Work::Other,
        }
    }
}

impl Results {
    pub fn new() -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown CPU", |model| model.trim_start_matches(['\t', ':', ' ']));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            machine: format!("{cores} cores of {model}"),
            started: dormouse_core::clock::Clock::default().now().to_string(),
            brokers: Vec::new(),
        }
    }
}

impl BrokerResults {
    pub fn new(version: &str) -> Self {
        Self {
            version: version.into(),
            load_averages: Vec::new(),
            max: Vec::new(),
            steady: Vec::new(),
            burst: None,
            backlog: None,
            memory: None,
            profile: Vec::new(),
        }
    }

    pub fn row(&self, name: &str) -> Option<&MaxRow> {
        self.max.iter().find(|row| row.name == name)
    }

    /// A subject at this steady rate.
    pub fn steady(&self, name: &str, per_second: f64) -> Option<&SteadyRow> {
        self.steady.iter().find(|row| row.name == name && row.per_second == per_second)
    }

    /// The median rate of a subject.
    pub fn rate(&self, name: &str) -> Option<f64> {
        self.row(name)?.per_second()
    }
}

/// CPU time for each message, µs.
fn median_cost<'a>(
    windows: impl IntoIterator<Item = &'a WindowReport>,
    of: impl Fn(&WindowReport) -> Option<Cost>,
) -> Option<f64> {
    median(windows.into_iter().filter_map(of).map(|cost| cost.cpu_us_per_message))
}

impl SteadyRow {
    /// p50 and p99, the medians of the windows'.
    pub fn lateness_ms(&self) -> Option<(f64, f64)> {
        let windows = || self.windows.iter().map(|window| window.lateness_ms);
        Some((median(windows().map(|one| one.p50))?, median(windows().map(|one| one.p99))?))
    }

    pub fn early(&self) -> u64 {
        self.windows.iter().map(|window| window.early).sum()
    }

    /// The median of the windows.
    pub fn cost(&self, of: impl Fn(&WindowReport) -> Option<Cost>) -> Option<f64> {
        median_cost(&self.windows, of)
    }

    /// The most in any window.
    pub fn worker_bytes(&self) -> Option<u64> {
        self.windows.iter().filter_map(|window| Some(window.workers?.memory_bytes)).max()
    }
}

impl MaxRow {
    pub fn new(name: &str, unit: Option<Duration>, subject: Subject) -> Self {
        let relays = match subject {
            Subject::Undelayed | Subject::OneHop { .. } | Subject::Binary(_) => 0,
            Subject::Relayed { .. } | Subject::Client { .. } => 1,
            Subject::Header { .. } | Subject::Keyed { .. } => 2,
        };
        let unit_ms = unit.map(|unit| unit.as_secs_f64() * 1e3);
        Self { name: name.into(), unit_ms, relays, rounds: Vec::new() }
    }

    pub fn per_second(&self) -> Option<f64> {
        median(self.rounds.iter().map(|round| round.per_second))
    }

    /// The median over all windows.
    pub fn cost(&self, of: impl Fn(&WindowReport) -> Option<Cost>) -> Option<f64> {
        median_cost(self.rounds.iter().flat_map(|round| &round.report.windows), of)
    }

    pub fn hops(&self) -> Option<f64> {
        median(self.rounds.iter().map(|round| round.report.hops))
    }

    pub fn peak_held(&self) -> Option<f64> {
        self.rounds.iter().filter_map(|round| round.peak_held).max_by(f64::total_cmp)
    }

    /// The smallest and the largest share that any worker had in any round.
    pub fn shares(&self) -> Option<(f64, f64)> {
        let shares = || self.rounds.iter().flat_map(|round| round.shares.iter().copied());
        Some((shares().min_by(f64::total_cmp)?, shares().max_by(f64::total_cmp)?))
    }

    /// Early, lost, twice, refused: nothing of it is to be.
    pub fn faults(&self) -> u64 {
        let reports = self.rounds.iter().map(|round| &round.report);
        reports
            .map(|report| report.early + report.missing + report.duplicates + report.failed)
            .sum()
    }
}
