//! Everything that was measured, as it goes into the JSON.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::memory::Memory;
use super::profile::ProfileRow;
use super::{bars, paper, plot};
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

    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("results.md"), paper::markdown(self))?;
        if self.brokers.iter().any(|broker| !broker.max.is_empty()) {
            std::fs::write(folder.join("results.svg"), plot::svg(self))?;
        }
        let bars: Vec<_> = self.brokers.iter().map(bars::bars).collect();
        let document = serde_json::json!({ "results": self, "bars": bars });
        std::fs::write(folder.join("results.json"), serde_json::to_string_pretty(&document)?)?;
        Ok(())
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
            Subject::Header { .. } => 2,
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
