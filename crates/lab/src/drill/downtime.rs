//! Drill 12: nobody works, and then the broker is down, over due times; what was cancelled meanwhile stays away.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::error::DrillError;
use super::keyed::plan::Storm;
use super::keyed::run::{self, KeyRun};
use super::load::{Load, Shape};
use super::run::Run;
use super::site::Site;
use super::storm::SETTINGS;
use super::{Options, Outcome};

/// As after any broker's start: for overdue messages to go out, and for the sweep of the levels.
const CATCHING_UP: Duration = Duration::from_secs(4);

/// All workers killed, then the broker stopped in order; and again, with the broker killed.
pub async fn cancelled(options: &Options) -> Result<Outcome, DrillError> {
    let opening = Instant::now();
    let mut site = Site::open_with(options, &SETTINGS).await?;
    // about so long takes a start
    let start = opening.elapsed();
    run::declare(&site).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut outcome = Outcome::default();
    for kill in [false, true] {
        let seed = options.seed.wrapping_add(u64::from(kill));
        down(&mut site, seed, start, kill, &mut rng, &mut outcome).await?;
    }
    Ok(outcome)
}

async fn down(
    site: &mut Site,
    seed: u64,
    start: Duration,
    kill: bool,
    rng: &mut Rng,
    outcome: &mut Outcome,
) -> Result<(), DrillError> {
    let options = site.options().clone();
    let at = |share: f64| options.duration.mul_f64(share / 2.0);
    let mut hands = vec![site.hire().await?, site.hire().await?];
    let longest = at(1.0) + start;
    let storm = Storm {
        keys: options.shape().messages,
        scheduled: (Duration::ZERO, at(0.25)),
        cancelled: (at(0.3), at(0.5)),
        due: (at(0.35), longest),
    };
    let shape = options.shape();
    let shape = Shape { messages: shape.messages / 2, span: at(0.5), longest, ..shape };
    let keyed = KeyRun::begin(site, storm.plan(seed));
    let mut run = Run::begin(site, Load::new(seed, &shape), &options.queues());
    // some unique schedules are decided then, and some are not
    run.at(at(0.15 + 0.1 * rng.f64())).await;
    run.fault_begins();
    hands.drain(..).for_each(|hand| hand.kill());
    run.at(at(0.5)).await;
    keyed.confirmed().await?;
    if kill {
        site.nodes[0].kill();
    } else {
        site.nodes[0].stop().await?;
    }
    tokio::time::sleep(at(0.1 + 0.1 * rng.f64())).await;
    site.nodes[0].start_again().await?;
    hands.extend([site.hire().await?, site.hire().await?]);
    run.fault_ends(CATCHING_UP);
    outcome.faults += 2;
    outcome.judge(run, keyed).await?;
    outcome.expect_never_early(&hands).await;
    Ok(())
}
