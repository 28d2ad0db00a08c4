//! What the index shows of itself, as long as it is written: read from its file, as by anybody who asks.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::asking::{Answer, Index};
use super::error::IndexError;
use super::filter::Filter;
use super::row::State;
use crate::config::Config;
use crate::worker::Clock;

const EVENTS: &str = "dormouse_index_events_total";
const LAG: &str = "dormouse_index_lag_seconds";
const GAPS: &str = "dormouse_index_gaps";
const BYTES: &str = "dormouse_index_file_bytes";
const MESSAGES: &str = "dormouse_index_messages";

/// Between two looks; and so many times as long as one took, since messages are counted.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_FACTOR: u32 = 50;

fn describe() {
    describe_counter!(EVENTS, "Events of the ledger that the index has applied, in all its life");
    describe_gauge!(LAG, "How old the answers of the index are");
    describe_gauge!(GAPS, "What the index may lack, until a census; 0 if it is complete");
    describe_gauge!(BYTES, "Size of the file of the index, and of its write-ahead log");
    describe_gauge!(MESSAGES, "Messages that the index knows, by state");
}

/// Looks until `stop`. What cannot be read, who writes it tells.
pub async fn measure(
    config: Arc<Config>,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), IndexError> {
    describe();
    let mut pause = Duration::from_millis(500);
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return Ok(()),
        }
        let (config, clock, began) = (config.clone(), clock.clone(), Instant::now());
        let looked = tokio::task::spawn_blocking(move || look(&config, &clock)).await;
        let _ = looked.map_err(|error| IndexError::Stopped(error.to_string()))?;
        pause = LOOK.max(began.elapsed() * LOOK_FACTOR);
    }
}

fn look(config: &Config, clock: &Clock) -> Result<(), IndexError> {
    let (index, now) = (Index::of(config)?, clock.now());
    let Answer { value: standing, completeness, .. } = index.standing(now)?;
    counter!(EVENTS).absolute(standing.events);
    gauge!(GAPS).set(completeness.gaps.len() as f64);
    if let Some(lag_ms) = completeness.lag_ms {
        gauge!(LAG).set(lag_ms as f64 / 1_000.0);
    }
    let file = index.file();
    let bytes = |file: &Path| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let mut log = file.clone().into_os_string();
    log.push("-wal");
    gauge!(BYTES).set((bytes(&file) + bytes(Path::new(&log))) as f64);
    let counts = index.count(&Filter::default(), now)?.value;
    for state in State::ALL {
        let known = counts.iter().find(|(of, _)| *of == state).map_or(0, |(_, count)| *count);
        gauge!(MESSAGES, "state" => state.as_str()).set(known as f64);
    }
    Ok(())
}
