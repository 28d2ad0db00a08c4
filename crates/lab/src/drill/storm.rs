//! Drill 11: thousands of schedules with a key, half of them cancelled, while workers are killed.

use std::time::Duration;

use fastrand::Rng;

use super::error::DrillError;
use super::keyed::plan::Storm;
use super::keyed::run::{self, KeyRun};
use super::run::Run;
use super::site::Site;
use super::workers::{replace, replace_all};
use super::{Options, Outcome};

/// Workers that take commands.
pub const SETTINGS: [(&str, &str); 1] = [("commands.enabled", "true")];

/// A worker that has died was perhaps the registrar; and what it held goes to another.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// As many schedules with a key as without; cancels until after what comes first is due.
pub fn plan(options: &Options) -> Storm {
    let at = |share: f64| options.duration.mul_f64(share);
    Storm {
        keys: options.shape().messages,
        scheduled: (Duration::ZERO, at(0.4)),
        cancelled: (at(0.1), at(0.65)),
        due: (at(0.5), at(1.0)),
    }
}

/// `kill -9` of one of three workers at random moments, and of all at once.
pub async fn cancelled(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open_with(options, &SETTINGS).await?;
    run::declare(&site).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut hands = vec![site.hire().await?, site.hire().await?, site.hire().await?];
    let mut outcome = Outcome::default();
    let keyed = KeyRun::begin(&site, plan(options).plan(options.seed));
    let mut run = Run::begin(&site, options.load(), &options.queues());
    let (from, to) = (Duration::ZERO, options.duration.mul_f64(0.9));
    let kills = options.times(8);
    for kill in 0..kills {
        run.at(options.moment(&mut rng, from, to, kill, kills)).await;
        if kill == kills / 2 {
            run.fault_begins();
            replace_all(&mut site, &mut hands).await?;
            run.fault_ends(CATCHING_UP);
        } else {
            let which = rng.usize(0..hands.len());
            replace(&mut site, &mut hands[which]).await?;
        }
        outcome.faults += 1;
    }
    outcome.judge(run, keyed).await?;
    outcome.expect_never_early(&hands).await;
    Ok(outcome)
}
