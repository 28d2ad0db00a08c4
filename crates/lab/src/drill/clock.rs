//! Drill 8: the wall clock steps under the worker, by a second and by a minute, ahead and back.
//!
//! The worker runs in this process, with a clock that can be stepped. All due times are absolute ones,
//! and everything is judged by the worker's clock.

use std::time::Duration;

use dormouse::worker::{self, Clock, Health};
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::DrillError;
use super::load::{Load, Shape};
use super::recorder::now_ms;
use super::run::{Run, Step};
use super::site::{Site, until};
use super::{Finding, Options, Outcome};

/// Held for so long, so that a step meets messages in the hold as well as in the levels.
const SETTINGS: [(&str, &str); 1] = [("topology.unit", "5s")];

/// The last one makes everything due.
const STEPS_MS: [i64; 4] = [1_000, -1_000, -60_000, 60_000];

/// A step is noticed within a second, and here is some time to look and to deliver.
const NOTICED: Duration = Duration::from_secs(1);

/// For the sweep to put right what sleeps.
const CATCHING_UP: Duration = Duration::from_secs(4);

pub async fn stepped(options: &Options) -> Result<Outcome, DrillError> {
    let site = Site::open_with(options, &SETTINGS).await?;
    let mut outcome = Outcome::default();
    let (clock, health, stop) = (Clock::default(), Health::default(), CancellationToken::new());
    let mut worker = JoinSet::new();
    worker.spawn(worker::run(site.config.clone(), clock.clone(), health.clone(), stop.clone()));
    until("the worker is ready", async || Ok(health.ready().is_ok())).await?;

    let mut rng = Rng::with_seed(options.seed);
    let mut steps = STEPS_MS;
    rng.shuffle(&mut steps[..2]);
    // so that there is something to sleep through the steps
    let shape = Shape {
        absolute: true,
        longest: options.duration + Duration::from_secs(10),
        ..options.shape()
    };
    let mut run = Run::begin(&site, Load::new(options.seed, &shape), &options.queues());
    for step_ms in steps {
        tokio::time::sleep(options.duration.mul_f64(0.1 + 0.1 * rng.f64())).await;
        let before_ms = clock.now().0;
        let to_ms = before_ms.saturating_add_signed(step_ms);
        let held = run.held_between(before_ms, to_ms, site.config.topology.unit);
        clock.shift(step_ms);
        run.step(Step { at_ms: now_ms(), by_ms: step_ms });
        if step_ms > 0 {
            // what the step passed over was due in between: it is late by the step at most
            let to_ms = clock.now().0 + CATCHING_UP.as_millis() as u64;
            run.fault_of(before_ms, to_ms);
        }
        tokio::time::sleep(NOTICED + options.bound).await;
        let late = run.missing_of(&held);
        outcome.expect(late == 0, || {
            Finding::new("not noticed in time: held messages that a step made due", late)
        });
        outcome
            .notes
            .push(format!("{step_ms} ms: {} held messages became due at once", held.len()));
        outcome.faults += 1;
    }
    outcome.verdict = run.end().await?;
    stop.cancel();
    while let Some(ended) = worker.join_next().await {
        let ended = ended.map_err(|panic| DrillError::of("the worker", panic))?;
        ended.map_err(|error| DrillError::of("the worker", error))?;
    }
    Ok(outcome)
}
