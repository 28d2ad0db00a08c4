//! Drill 2: the broker goes down with messages in every stage, and comes back.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::error::DrillError;
use super::load::{Load, Shape};
use super::run::Run;
use super::site::Site;
use super::{Options, Outcome};

/// After a broker's start: for overdue messages to go out, and for the sweep of the levels to put right
/// what sleeps there.
const CATCHING_UP: Duration = Duration::from_secs(4);

/// Two starts of a node, and the time after each, take no longer: delays reach over them. On a machine where
/// the site took long to open it is a multiple, and then the load is another one for the same seed.
const STARTS: Duration = Duration::from_secs(35);

/// Stopped in order and killed, each time for longer than some delays.
pub async fn down(options: &Options) -> Result<Outcome, DrillError> {
    let opening = Instant::now();
    let mut site = Site::open(options).await?;
    let starts = STARTS * (opening.elapsed() * 3).as_secs().div_ceil(STARTS.as_secs()) as u32;
    let mut rng = Rng::with_seed(options.seed);
    let mut outcome = Outcome::default();
    let mut hands = [site.hire().await?, site.hire().await?];
    let longest = options.duration + starts;
    let load = Load::new(options.seed, &Shape { longest, ..options.shape() });
    let mut run = Run::begin(&site, load, &options.queues());
    for kill in [false, true] {
        tokio::time::sleep(options.duration.mul_f64(0.05 + 0.1 * rng.f64())).await;
        run.fault_begins();
        if kill {
            site.nodes[0].kill();
        } else {
            site.nodes[0].stop().await?;
        }
        tokio::time::sleep(options.duration.mul_f64(0.05 + 0.05 * rng.f64())).await;
        site.nodes[0].start_again().await?;
        for hand in &mut hands {
            hand.until_ready().await?;
        }
        run.fault_ends(CATCHING_UP);
        // what sleeps through a fault and wakes after it has to be on time
        tokio::time::sleep(CATCHING_UP).await;
        outcome.faults += 1;
    }
    outcome.verdict = run.end().await?;
    outcome.expect_never_early(&hands).await;
    Ok(outcome)
}
