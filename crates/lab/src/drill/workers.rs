//! Drills 1 and 9: workers are killed, and stopped in order, under load.

use std::time::Duration;

use fastrand::Rng;

use super::error::DrillError;
use super::run::Run;
use super::site::Site;
use super::{Finding, Options, Outcome};
use crate::dev::WorkerProcess;

/// The broker gives what a dead worker held to the next one at once; this is for the processes to
/// start, and for the queue behind them, on a busy machine.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// `kill -9` of one of two workers at random moments, of both at once, then a rolling restart.
pub async fn killed(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open(options).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut hands = [site.hire().await?, site.hire().await?];
    let mut run = Run::begin(&site, options.load(), &options.queues());
    let mut outcome = Outcome::default();
    let part = options.duration / 4;
    // one at a time, while the other works
    for kill in 0..options.times(4) {
        run.at(options.moment(&mut rng, part / 4, part, kill, 4)).await;
        let which = rng.usize(0..2);
        replace(&mut site, &mut hands[which]).await?;
        outcome.faults += 1;
    }
    // both at once
    for kill in 0..options.times(2) {
        run.at(part + part / 4 + options.moment(&mut rng, Duration::ZERO, part, kill, 2)).await;
        run.fault_begins();
        for hand in hands {
            hand.kill();
        }
        hands = [site.start(&[])?, site.start(&[])?];
        for hand in &mut hands {
            hand.until_ready().await?;
        }
        run.fault_ends(CATCHING_UP);
        outcome.faults += 1;
    }
    // a rolling restart, in order
    run.at(part * 3).await;
    for hand in &mut hands {
        let next = site.hire().await?;
        let status = std::mem::replace(hand, next).stop().await?;
        outcome.expect(status.success(), || Finding::new("a worker did not stop in order", status));
        outcome.faults += 1;
    }
    outcome.verdict = run.end().await?;
    outcome.expect_never_early(&hands).await;
    Ok(outcome)
}

/// `kill -9`, and another in its place that is ready.
pub async fn replace(site: &mut Site, hand: &mut WorkerProcess) -> Result<(), DrillError> {
    let next = site.start(&[])?;
    std::mem::replace(hand, next).kill();
    Ok(hand.until_ready().await?)
}

/// Kills all at once, and has three begin in their place.
pub async fn replace_all(
    site: &mut Site,
    hands: &mut Vec<WorkerProcess>,
) -> Result<(), DrillError> {
    hands.drain(..).for_each(|hand| hand.kill());
    for _ in 0..3 {
        hands.push(site.start(&[])?);
    }
    for hand in hands {
        hand.until_ready().await?;
    }
    Ok(())
}

/// Ordered stops under load: nothing lost, and nothing twice.
pub async fn stopped(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open(options).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut outcome = Outcome::default();
    let mut hand = site.hire().await?;
    let run = Run::begin(&site, options.load(), &options.queues());
    let stops = options.times(6);
    for stop in 0..stops {
        let offset = options.moment(&mut rng, Duration::ZERO, options.duration, stop, stops);
        run.at(offset).await;
        let next = site.hire().await?;
        let started = std::time::Instant::now();
        let status = std::mem::replace(&mut hand, next).stop().await?;
        let took = started.elapsed();
        outcome.expect(status.success(), || Finding::new("a worker did not stop in order", status));
        outcome.expect(took < site.config.stop.grace, || {
            Finding::new("a worker took its whole grace period to stop", format!("{took:?}"))
        });
        outcome.faults += 1;
    }
    outcome.verdict = run.end().await?;
    let twice = outcome.verdict.duplicates.ours();
    outcome.expect(twice == 0, || Finding::new("needlessly duplicated", twice));
    outcome.expect_never_early(std::slice::from_ref(&hand)).await;
    Ok(outcome)
}
