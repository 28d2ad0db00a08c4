//! What commands can do, and what keys cost: the profiles `commands` and `keys`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse::cli::table::facts;
use dormouse::cli::{Failure, Output};
use dormouse::operate::number;
use serde_json::{Value as Json, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bench::{
    Asking, CommandFlow, Commanded, Delays, Environment, Flow, Profile, Progress, Report, Started,
    Subject, start_again,
};
use crate::dev::WorkerProcess;

/// A document, the same in words, and whether all of it is as it should be.
pub struct Told {
    pub document: Json,
    screen: String,
    pub is_good: bool,
}

/// Beside commands, messages sleep so long.
const DELAYS: Delays = Delays { min_ms: 1_000, max_ms: 3_000 };
/// What commands are about is due so much later.
const DUE_IN: Duration = Duration::from_secs(3_600);
/// Keys of a command that only fills.
const BATCH: usize = 1_000;
/// Longer than a worker takes between two counts of its keys.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);

impl Told {
    pub fn print(&self, output: Output) -> Result<(), Failure> {
        match output {
            Output::Json => dormouse::cli::table::print_json(&self.document),
            Output::Table => dormouse::cli::table::print(&self.screen),
        }
    }
}

/// Commands for a time, and beside them so many schedules a second, 0 for none.
pub async fn commands(
    environment: &Environment,
    asking: Asking,
    length: Duration,
    beside: f64,
    stop: &CancellationToken,
) -> Result<Told, Failure> {
    let flow = CommandFlow { asking, length, count: u64::MAX, due_in: DUE_IN };
    if beside == 0.0 {
        let commanded = flow.run(environment).await?;
        return Ok(told(&commanded, None));
    }
    let profile = Profile::Steady { per_second: beside, delays: DELAYS };
    let timing = profile.timing(1, length, 1, u64::MAX);
    // from the first schedule to the end of the window
    let flow = CommandFlow { length: timing.warm_up + timing.window, ..flow };
    let load = Flow::new(environment, Subject::header(&environment.config), timing);
    let progress = Arc::new(Progress::default());
    let (commanded, flown) = tokio::join!(flow.run(environment), load.run(progress, stop.clone()));
    Ok(told(&commanded?, Some(&Report::of(&flown?))))
}

fn told(commanded: &Commanded, beside: Option<&Report>) -> Told {
    let answer = &commanded.answer_ms;
    let mut shown = vec![
        ("keys", format!("{} decided", number(commanded.keys))),
        ("throughput", format!("{} keys/s", number(commanded.keys_per_second.round() as u64))),
        ("answers", format!("p50 {:.0} ms, p99 {:.0} ms", answer.p50, answer.p99)),
        ("refused", number(commanded.refused)),
        ("no answer", number(commanded.unanswered)),
    ];
    if let Some(report) = beside {
        let late = &report.lateness_ms;
        let per_second = number(report.per_second().round() as u64);
        let (p50, p99) = (late.p50, late.p99);
        shown.push((
            "beside",
            format!("{per_second} messages/s, late by p50 {p50:.1} ms, p99 {p99:.1} ms"),
        ));
    }
    Told {
        document: json!({ "commands": commanded, "beside": beside }),
        screen: facts(&shown),
        is_good: commanded.refused + commanded.unanswered == 0
            && beside.is_none_or(|report| report.early + report.missing + report.failed == 0),
    }
}

/// The keys that a worker says it knows, and their bytes. It counts them once a second: asked until it has come to
/// `keys`, or for [`COUNTED_WITHIN`].
async fn counted(worker: &WorkerProcess, keys: u64) -> (f64, f64) {
    let deadline = Instant::now() + COUNTED_WITHIN;
    loop {
        let known = worker.metric("dormouse_keys").await.unwrap_or_default();
        if known >= keys as f64 || Instant::now() > deadline {
            return (known, worker.metric("dormouse_keys_bytes").await.unwrap_or_default());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// So many keys, their memory in the worker, and the start of another with them.
pub async fn keys(
    environment: &mut Environment,
    count: u64,
    program: &Path,
    arguments: &[String],
) -> Result<Told, Failure> {
    let before = environment.watched().look().all_workers();
    let asking = Asking::Cancels { keys: BATCH };
    let commands = count.div_ceil(BATCH as u64);
    let length = Duration::from_secs(3_600);
    let flow = CommandFlow { asking, length, count: commands, due_in: DUE_IN };
    let filled = flow.run(environment).await?;
    let (known, bytes) = counted(&environment.workers[0], filled.keys).await;
    let after = environment.watched().look().all_workers();
    let resident = before
        .zip(after)
        .map(|(before, after)| after.memory_bytes.saturating_sub(before.memory_bytes));
    let started = start_again(environment, program, arguments).await?;
    let anew = environment.watched().look().all_workers().map(|usage| usage.memory_bytes);
    let Started { first_unkeyed_seconds: unkeyed, first_keyed_seconds: keyed } = started;
    let each = |bytes: f64| format!("{:.1} bytes a key", bytes / known.max(1.0));
    let shown = [
        ("keys", number(known as u64)),
        ("filled", format!("{} keys/s", number(filled.keys_per_second.round() as u64))),
        ("by count", each(bytes)),
        ("resident", resident.map_or("unknown".into(), |bytes| each(bytes as f64))),
        (
            "start",
            format!("first message with a key after {keyed:.2} s, without after {unkeyed:.2} s"),
        ),
    ];
    Ok(Told {
        document: json!({
            "keys": known, "keys_bytes": bytes, "resident_bytes_more": resident,
            "resident_bytes_after_start": anew, "filled": filled, "start": started,
        }),
        screen: facts(&shown),
        is_good: filled.refused + filled.unanswered == 0,
    })
}
