//! In: a run that has ended. Out: its figures, one set a window, for tables, JSON and bars. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::flow::Flown;
use super::record::Window;
use super::usage::Usage;
use super::watched::Look;

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub published: u64,
    pub confirmed: u64,
    pub arrived: u64,
    pub early: u64,
    pub duplicates: u64,
    /// Confirmed and not seen, so far as the run waited.
    pub missing: u64,
    /// TTL queues a message, on average, as planned.
    pub hops: f64,
    /// From a publish to its confirm.
    pub confirm_ms: Percentiles,
    pub windows: Vec<WindowReport>,
    /// All windows together.
    pub lateness_ms: Percentiles,
    /// From the first to the last arrival of the whole run.
    pub arrivals_seconds: f64,
    /// Publishes that the broker did not take, and what it said about the first.
    pub failed: u64,
    pub failure: Option<String>,
}

/// What happened between two looks.
#[derive(Debug, Clone, Serialize)]
pub struct WindowReport {
    pub seconds: f64,
    pub arrived: u64,
    pub per_second: f64,
    pub early: u64,
    pub lateness_ms: Percentiles,
    pub broker: Option<Cost>,
    /// All workers together.
    pub workers: Option<Cost>,
    pub generator: Option<Cost>,
}

/// CPU time for each message that arrived, and memory at the end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    pub cpu_us_per_message: f64,
    pub memory_bytes: u64,
}

/// Of a histogram, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Percentiles {
    pub fn of(histogram_us: &Histogram<u64>) -> Self {
        let ms = |quantile| histogram_us.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            p999: ms(0.999),
            max: histogram_us.max() as f64 / 1e3,
        }
    }
}

impl Report {
    pub fn of(flown: &Flown) -> Self {
        let Flown { record, published, looks, .. } = flown;
        let pairs = looks.windows(2).map(Some).chain(std::iter::repeat(None));
        let windows = record.seen.iter().enumerate().zip(pairs);
        Self {
            published: published.count,
            confirmed: published.confirmed,
            arrived: record.arrived,
            early: record.early,
            duplicates: record.duplicates,
            missing: record.missing(published.confirmed),
            hops: published.hops as f64 / published.count.max(1) as f64,
            confirm_ms: Percentiles::of(&published.confirm_us),
            windows: windows
                .map(|((index, seen), looks)| {
                    let length = record.windows.length_of(index, flown.ended_us, seen.last_us);
                    WindowReport::of(length, seen, looks.map(|pair| (&pair[0], &pair[1])))
                })
                .collect(),
            lateness_ms: Percentiles::of(&lateness(flown)),
            arrivals_seconds: match (record.first_us, record.last_us) {
                (Some(first_us), Some(last_us)) => (last_us - first_us) as f64 / 1e6,
                _ => 0.0,
            },
            failed: published.failed,
            failure: published.failure.clone(),
        }
    }

    /// Arrivals a second over all windows.
    pub fn per_second(&self) -> f64 {
        let arrived: u64 = self.windows.iter().map(|window| window.arrived).sum();
        let seconds: f64 = self.windows.iter().map(|window| window.seconds).sum();
        if seconds > 0.0 { arrived as f64 / seconds } else { 0.0 }
    }
}

/// The lateness of all windows, in microseconds.
pub fn lateness(flown: &Flown) -> Histogram<u64> {
    let mut all = super::record::histogram();
    for window in &flown.record.seen {
        all.add(&window.lateness_us).expect("the same bounds");
    }
    all
}

impl WindowReport {
    fn of(length: Duration, seen: &Window, looks: Option<(&Look, &Look)>) -> Self {
        let cost = |of: &dyn Fn(&Look) -> Option<Usage>| {
            let (before, after) = looks?;
            let (before, after) = (of(before)?, of(after)?);
            let cpu = after.cpu.saturating_sub(before.cpu);
            Some(Cost {
                cpu_us_per_message: cpu.as_secs_f64() * 1e6 / seen.arrived.max(1) as f64,
                memory_bytes: after.memory_bytes,
            })
        };
        Self {
            seconds: length.as_secs_f64(),
            arrived: seen.arrived,
            per_second: seen.arrived as f64 / length.as_secs_f64(),
            early: seen.early,
            lateness_ms: Percentiles::of(&seen.lateness_us),
            broker: cost(&|look| look.all_brokers()),
            workers: cost(&|look| look.all_workers()),
            generator: cost(&|look| look.generator),
        }
    }
}

/// The middle one, or the mean of the two in the middle; nothing of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
