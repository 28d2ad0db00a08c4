//! In: what was measured on one broker. Out: each bar with its ratio, and whether it was reached. Pure.

use serde::Serialize;

use super::entrants::{BINARY, CEILING, CLIENT, FLOOR, HEADER, RELAY_SLOW, TWO, UNSCALED};
use super::results::{BrokerResults, SteadyRow};
use crate::bench::median;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    pub number: u8,
    pub what: String,
    pub measured: f64,
    pub wanted: Wanted,
    pub reached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    fn new(number: u8, what: impl Into<String>, measured: f64, wanted: Wanted) -> Self {
        let reached = match wanted {
            Wanted::AtLeast(least) => measured >= least,
            Wanted::AtMost(most) => measured <= most,
        };
        Self { number, what: what.into(), measured, wanted, reached }
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// The bars that the measured parts speak of.
pub fn bars(of: &BrokerResults) -> Vec<Bar> {
    use Wanted::{AtLeast, AtMost};
    let mut bars = Vec::new();
    // RabbitMQ 4.3 made the binary cascade itself a good deal faster
    let modern = of.version.starts_with("4.3");
    let ratio = |name: &str, to: &str| Some(of.rate(name)? / of.rate(to)?);
    let mut rate = |number, name: &str, to: &str, words: &str, wanted| {
        let measured = ratio(name, to);
        bars.extend(measured.map(|measured| Bar::new(number, words, measured, wanted)));
    };
    let (header, client) = if modern { (1.5, 2.0) } else { (2.2, 3.0) };
    rate(1, HEADER, BINARY, "max: header / binary cascade", AtLeast(header));
    rate(1, CLIENT, BINARY, "max: client / binary cascade", AtLeast(client));
    rate(2, CLIENT, FLOOR, "max: client / one-hop floor", AtLeast(0.45));
    rate(2, HEADER, FLOOR, "max: header / one-hop floor", AtLeast(0.33));
    for row in of.steady.iter().filter(|row| [HEADER, CLIENT].contains(&row.name)) {
        let at = |what: &str| format!("steady {}/s, {}: {what}", row.per_second, row.name);
        bars.push(Bar::new(3, at("early"), row.early() as f64, AtMost(0.0)));
        let undelayed = of.steady(CEILING, row.per_second).and_then(SteadyRow::lateness_ms);
        if let Some(((p50_ms, p99_ms), (_, undelayed_ms))) = row.lateness_ms().zip(undelayed) {
            bars.push(Bar::new(3, at("p50, ms"), p50_ms, AtMost(3.0)));
            bars.push(Bar::new(3, at("p99 / undelayed"), p99_ms / undelayed_ms, AtMost(5.0)));
        }
    }
    if let Some(burst) = &of.burst {
        let medians =
            median(burst.burst_ms.iter().copied()).zip(median(burst.relay_ms.iter().copied()));
        let what = format!("burst of {}: all out / bare relay", burst.messages);
        bars.extend(medians.map(|(burst, relay)| Bar::new(4, what, burst / relay, AtMost(1.5))));
        bars.push(Bar::new(4, "burst: early", burst.early as f64, AtMost(0.0)));
    }
    if let Some(backlog) = &of.backlog {
        let middle = |values: &[f64]| median(values.iter().copied());
        let (full, empty) = (&backlog.full, &backlog.empty);
        let with = |what: &str| format!("{} pending: {what}", backlog.pending);
        if let Some((full, empty)) = middle(&full.per_second).zip(middle(&empty.per_second)) {
            bars.push(Bar::new(5, with("throughput / empty"), full / empty, AtLeast(0.8)));
        }
        if let Some((full, empty)) =
            middle(&full.lateness_p99_ms).zip(middle(&empty.lateness_p99_ms))
        {
            bars.push(Bar::new(5, with("lateness p99 / empty"), full / empty, AtMost(2.0)));
        }
        if let Some(bytes) = backlog.worker_growth_bytes {
            bars.push(Bar::new(5, with("worker's growth, MiB"), bytes / MIB, AtMost(10.0)));
        }
        if let Some(seconds) = middle(&backlog.restart_seconds) {
            bars.push(Bar::new(5, with("restart to serving, s"), seconds, AtMost(2.0)));
        }
    }
    if let Some(measured) = ratio(UNSCALED, CEILING) {
        let what = "max, unscaled, header / undelayed";
        bars.push(Bar::new(6, what, measured, AtLeast(0.25)));
    }
    // at the same rate: the fewer come together, the more a message costs
    for name in [HEADER, CLIENT] {
        let cpu = |name: &str| of.row(name)?.cost(|window| window.workers);
        if let (Some(worker), Some(relay), Some(row)) = (cpu(name), cpu(RELAY_SLOW), of.row(name)) {
            let what = format!("{name}: worker CPU / {} bare relays", row.relays);
            bars.push(Bar::new(7, what, worker / relay / f64::from(row.relays), AtMost(1.5)));
        }
    }
    if let Some(measured) = ratio(TWO, HEADER) {
        bars.push(Bar::new(8, "two workers / one", measured, AtLeast(0.9)));
    }
    if let Some((least, most)) = of.row(TWO).and_then(|row| row.shares()) {
        bars.push(Bar::new(8, "two workers: smallest share", least, AtLeast(0.3)));
        bars.push(Bar::new(8, "two workers: largest share", most, AtMost(0.7)));
    }
    bars
}
