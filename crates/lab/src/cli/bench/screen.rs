//! What a bench has measured, for people and for programs.

use std::time::Duration;

use dormouse::cli::table::facts;
use dormouse::config::durations;
use dormouse::operate::{count, number};
use hdrhistogram::Histogram;
use serde_json::{Value as Json, json};

use crate::bench::{Cost, Delays, Look, Percentiles, Profile, Report, bars, picture};

pub struct Measured {
    pub profile: Profile,
    pub path: &'static str,
    /// Messages that slept beside it.
    pub pending: Option<u64>,
    /// Before they were put to sleep, and after.
    pub pending_looks: Option<(Look, Look)>,
    pub lateness_us: Histogram<u64>,
    pub unit: Duration,
    pub radix: u32,
    pub report: Report,
}

/// Characters of the longest bar.
const BAR: usize = 40;

impl Measured {
    /// No message early, lost, doubled or refused.
    pub fn is_good(&self) -> bool {
        let Report { early, missing, duplicates, failed, .. } = self.report;
        early + missing + duplicates + failed == 0
    }

    pub fn screen(&self) -> String {
        let Report { windows, lateness_ms, confirm_ms, .. } = &self.report;
        let mut shown = vec![
            ("profile", self.profile_words()),
            (
                "path",
                format!(
                    "{}, unit {}, radix {}",
                    self.path,
                    durations::duration(self.unit),
                    self.radix
                ),
            ),
            ("measured", self.measured_words()),
            (
                "throughput",
                format!("{} messages/s", number(self.report.per_second().round() as u64)),
            ),
            ("lateness", percentiles(lateness_ms)),
            ("early", number(self.report.early)),
            ("hops", format!("{:.2} a message", self.report.hops)),
            ("confirm", percentiles(confirm_ms)),
        ];
        if let Some(window) = windows.first() {
            let costs = [
                ("broker", window.broker),
                ("worker", window.workers),
                ("bench", window.generator),
            ];
            shown.extend(costs.map(|(name, cost)| (name, cost_words(cost))));
        }
        if let Some(bytes) = self.pending_bytes() {
            let each = bytes / self.pending.unwrap_or(1).max(1) as f64;
            let all = bytes / f64::from(1 << 20);
            shown.push((
                "asleep",
                format!("{all:.0} MiB of the broker's memory, {each:.0} bytes a message"),
            ));
        }
        let mut parts = vec![facts(&shown)];
        if !self.lateness_us.is_empty() {
            parts.push(format!("Lateness:\n{}", picture(&self.lateness_us, BAR)));
        }
        let findings = self.findings();
        if !findings.is_empty() {
            parts.push(findings.join("\n"));
        }
        parts.join("\n\n")
    }

    fn profile_words(&self) -> String {
        let range = |Delays { min_ms, max_ms }: Delays| {
            let [min, max] =
                [min_ms, max_ms].map(|ms| durations::duration(Duration::from_millis(ms)));
            format!("{min} to {max}")
        };
        let profile = match self.profile {
            Profile::Steady { per_second, delays } => {
                format!("steady, {per_second} messages/s, delays of {}", range(delays))
            }
            Profile::Burst { messages } => {
                format!("burst, {} due at one moment", count(messages, "message"))
            }
            Profile::Max { delays, in_flight } => {
                format!("max, {} in flight, delays of {}", number(in_flight), range(delays))
            }
            Profile::Trial { delays } => format!("a trial, delays of {}", range(delays)),
            Profile::Pending { messages, delays } => {
                format!("{} asleep, delays of {}", count(messages, "message"), range(delays))
            }
        };
        match self.pending {
            Some(pending) => format!("{profile}; {} pending", number(pending)),
            None => profile,
        }
    }

    fn measured_words(&self) -> String {
        let seconds: f64 = self.report.windows.iter().map(|window| window.seconds).sum();
        let arrived: u64 = self.report.windows.iter().map(|window| window.arrived).sum();
        format!("{} in {seconds:.2} s", count(arrived, "message"))
    }

    /// How much the broker grew by what was put to sleep.
    fn pending_bytes(&self) -> Option<f64> {
        let (before, after) = self.pending_looks.as_ref()?;
        let (before, after) = (before.all_brokers()?, after.all_brokers()?);
        Some(after.memory_bytes as f64 - before.memory_bytes as f64)
    }

    fn findings(&self) -> Vec<String> {
        let Report { early, missing, duplicates, failed, failure, .. } = &self.report;
        let mut findings = Vec::new();
        if *early > 0 {
            findings.push(format!("! {} came early.", count(*early, "message")));
        }
        if *missing > 0 {
            let missing = count(*missing, "confirmed message");
            findings.push(format!("! {missing} did not come in time; look into the DLQ."));
        }
        if *duplicates > 0 {
            findings.push(format!("! {} came twice.", count(*duplicates, "message")));
        }
        if *failed > 0 {
            let why = failure.as_deref().unwrap_or("no reason given");
            findings.push(format!("! The broker refused {}: {why}.", count(*failed, "publish")));
        }
        findings
    }

    pub fn document(&self) -> Json {
        let lateness: Vec<Json> = bars(&self.lateness_us)
            .iter()
            .map(|bar| json!({ "to_ms": bar.to_ms, "messages": bar.count }))
            .collect();
        json!({
            "load": self.profile,
            "path": self.path,
            "unit_ms": self.unit.as_millis() as u64,
            "radix": self.radix,
            "pending": self.pending,
            "pending_memory_bytes": self.pending_bytes(),
            "per_second": self.report.per_second(),
            "report": self.report,
            "lateness_histogram": lateness,
        })
    }
}

fn percentiles(of: &Percentiles) -> String {
    let Percentiles { p50, p90, p99, p999, max } = of;
    format!("p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1} ms")
}

fn cost_words(cost: Option<Cost>) -> String {
    match cost {
        Some(Cost { cpu_us_per_message, memory_bytes }) => {
            let mib = memory_bytes as f64 / f64::from(1 << 20);
            format!("{cpu_us_per_message:.0} µs of CPU a message, {mib:.0} MiB")
        }
        None => "not on this machine, or its process is not known".into(),
    }
}
