//! The results as a page to read. Pure.

use super::bars::{Wanted, bars};
use super::results::{BrokerResults, MaxRow, Memory, Results, Work};
use crate::bench::median;

pub fn markdown(results: &Results) -> String {
    let mut page = format!("# Measured\n\n{}, begun {}.\n", results.machine, results.started);
    for broker in &results.brokers {
        page.push_str(&format!("\n## RabbitMQ {}\n", broker.version));
        if let Some(load) = median(broker.load_averages.iter().copied()) {
            let most = broker.load_averages.iter().copied().fold(0.0, f64::max);
            page.push_str(&format!(
                "\nLoad average beside the parts: median {load:.1}, at most {most:.1}.\n"
            ));
        }
        page.push_str(&floods(broker));
        page.push_str(&steady(broker));
        page.push_str(&bursts(broker));
        page.push_str(&backlog(broker));
        page.push_str(&memory(broker));
        page.push_str(&profile(broker));
        page.push_str(&judged(broker));
    }
    page
}

/// A figure, or a dash for none.
fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

fn floods(broker: &BrokerResults) -> String {
    if broker.max.is_empty() {
        return String::new();
    }
    let mut table = String::from(
        "\n### As fast as confirms allow\n\nMedians of the rounds; least to most in parentheses. CPU in µs for each message that arrived.\n\n\
         | | unit | hops | messages/s | broker CPU | worker CPU | bench CPU | held at most |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in &broker.max {
        let MaxRow { name, rounds, unit_ms, .. } = row;
        let rates = || rounds.iter().map(|round| round.per_second);
        let (least, most) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
        let unit = unit_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"));
        let faults = match row.faults() {
            0 => String::new(),
            faults => format!(" **{faults} early, lost, twice or refused**"),
        };
        table.push_str(&format!(
            "| {name}{faults} | {unit} | {} | {} ({least:.0}–{most:.0}) | {} | {} | {} | {} |\n",
            shown(row.hops(), 2),
            shown(row.per_second(), 0),
            shown(row.cost(|window| window.broker), 0),
            shown(row.cost(|window| window.workers), 0),
            shown(row.cost(|window| window.generator), 0),
            shown(row.peak_held(), 0),
        ));
    }
    table
}

fn steady(broker: &BrokerResults) -> String {
    if broker.steady.is_empty() {
        return String::new();
    }
    let mut table = String::from(
        "\n### Steady, unscaled, delays of 1 to 60 s\n\nLateness in ms, medians of the windows.\n\n\
         | | messages/s | p50 | p99 | early | broker CPU, µs | worker CPU, µs | worker's memory, MiB |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in &broker.steady {
        let (p50_ms, p99_ms) = row.lateness_ms().unzip();
        let mib = row.worker_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20));
        table.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            row.name,
            row.per_second,
            shown(p50_ms, 1),
            shown(p99_ms, 1),
            row.early(),
            shown(row.cost(|window| window.broker), 0),
            shown(row.cost(|window| window.workers), 0),
            shown(mib, 0),
        ));
    }
    table
}

fn bursts(broker: &BrokerResults) -> String {
    let Some(burst) = &broker.burst else { return String::new() };
    let middle = |values: &[f64]| median(values.iter().copied()).unwrap_or(f64::NAN);
    format!(
        "\n### {} due at one moment\n\nAll out after {:.0} ms; a bare relay takes {:.0} ms for as many.\n",
        burst.messages,
        middle(&burst.burst_ms),
        middle(&burst.relay_ms)
    )
}

fn backlog(broker: &BrokerResults) -> String {
    let Some(backlog) = &broker.backlog else { return String::new() };
    let middle = |values: &[f64]| median(values.iter().copied()).unwrap_or(f64::NAN);
    format!(
        "\n### {} pending\n\n| | messages/s | lateness p99, ms |\n|---|---|---|\n| none pending | {:.0} | {:.1} |\n| all pending | {:.0} | {:.1} |\n\n\
         A worker that is started anew serves after {:.2} s.\n",
        backlog.pending,
        middle(&backlog.empty.per_second),
        middle(&backlog.empty.lateness_p99_ms),
        middle(&backlog.full.per_second),
        middle(&backlog.full.lateness_p99_ms),
        middle(&backlog.restart_seconds),
    )
}

fn memory(broker: &BrokerResults) -> String {
    let Some(Memory { messages, bytes_per_sleeper, bytes_per_plain }) = &broker.memory else {
        return String::new();
    };
    format!(
        "\n### Memory for each message\n\nThe broker's Erlang VM took {bytes_per_sleeper:.0} bytes for each of {messages} that sleep, \
         {bytes_per_plain:.0} for each of as many in a plain quorum queue: bodies of 256 bytes, the write-ahead log in its segments.\n",
    )
}

fn profile(broker: &BrokerResults) -> String {
    if broker.profile.is_empty() {
        return String::new();
    }
    let heads: Vec<_> = Work::ALL.iter().map(|work| work.words()).collect();
    let mut table = format!(
        "\n### Where the broker's time goes\n\nIts CPU time for each message, in µs, by shares of the Erlang VM's reductions; \
         and these themselves.\n\n\
         | | reductions | all | {} |\n|---|---|---|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len()),
    );
    for row in &broker.profile {
        let us = row.broker_us.unwrap_or(f64::NAN);
        let share = |work| row.shares.iter().find(|(one, _)| *one == work).map_or(0.0, |one| one.1);
        let parts: Vec<_> =
            Work::ALL.iter().map(|work| format!("{:.0}", share(*work) * us)).collect();
        let (name, reductions) = (&row.name, row.reductions);
        table
            .push_str(&format!("| {name} | {reductions:.0} | {us:.0} | {} |\n", parts.join(" | ")));
    }
    table
}

fn judged(broker: &BrokerResults) -> String {
    let bars = bars(broker);
    if bars.is_empty() {
        return String::new();
    }
    let mut table =
        String::from("\n### Bars\n\n| | | measured | wanted | |\n|---|---|---|---|---|\n");
    for bar in bars {
        let wanted = match bar.wanted {
            Wanted::AtLeast(least) => format!("≥ {least}"),
            Wanted::AtMost(most) => format!("≤ {most}"),
        };
        let reached = if bar.reached { "reached" } else { "**missed**" };
        table.push_str(&format!(
            "| {} | {} | {:.2} | {wanted} | {reached} |\n",
            bar.number, bar.what, bar.measured
        ));
    }
    table
}
