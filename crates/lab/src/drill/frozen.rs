//! Drill 13: the worker that decides the commands is frozen, for less and for more than its connections live, and
//! the next one is killed; all commands have the effect that one process would have given them.

use std::time::Duration;

use fastrand::Rng;

use super::error::DrillError;
use super::keyed::plan::Duels;
use super::keyed::run::{self, KeyRun};
use super::load::{Load, Shape};
use super::run::Run;
use super::site::{Site, until};
use super::storm::SETTINGS;
use super::workers::replace;
use super::{Options, Outcome};
use crate::dev::WorkerProcess;

/// Shorter than a heartbeat: nobody notices, and it goes on.
const SHORT: Duration = Duration::from_secs(1);

/// What a frozen worker held goes to the others when its connections are closed, two heartbeats later, or when it
/// goes on.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// Two rounds take no less, as RabbitMQ has to notice what is frozen.
const ROUNDS: Duration = Duration::from_secs(24);

/// Acts for each key are three to four, so there are fewer keys than messages.
const KEYS_OF: u32 = 6;

/// Frozen for a moment; frozen until another follows, and thawed; and that one killed. Twice.
pub async fn decided(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open_with(options, &SETTINGS).await?;
    run::declare(&site).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut outcome = Outcome::default();
    let mut hands = [site.hire().await?, site.hire().await?, site.hire().await?];
    let span = options.duration.mul_f64(0.6).max(ROUNDS);
    let messages = (f64::from(options.rate) * span.as_secs_f64()) as u32;
    let duels = Duels { keys: messages / KEYS_OF, from: (Duration::ZERO, span) };
    let shape = Shape { messages: messages / 2, span, longest: span / 2, ..options.shape() };
    let keyed = KeyRun::begin(&site, duels.plan(options.seed));
    let mut run = Run::begin(&site, Load::new(options.seed, &shape), &options.queues());
    for _ in 0..2 {
        let pause = SHORT.mul_f64(0.5 + rng.f64());
        tokio::time::sleep(pause).await;
        let first = registrar(&hands, None).await?;
        run.fault_begins();
        hands[first].freeze()?;
        tokio::time::sleep(SHORT).await;
        hands[first].thaw()?;
        run.fault_ends(CATCHING_UP);
        tokio::time::sleep(pause).await;

        let first = registrar(&hands, None).await?;
        run.fault_begins();
        hands[first].freeze()?;
        let next = registrar(&hands, Some(first)).await?;
        tokio::time::sleep(pause).await;
        hands[first].thaw()?;
        hands[first].until_ready().await?;
        run.fault_ends(CATCHING_UP);
        tokio::time::sleep(pause).await;

        replace(&mut site, &mut hands[next]).await?;
        outcome.faults += 3;
    }
    outcome.judge(run, keyed).await?;
    outcome.expect_never_early(&hands).await;
    Ok(outcome)
}

/// The index of the worker that decides the commands, another than the one that is frozen.
async fn registrar(hands: &[WorkerProcess; 3], frozen: Option<usize>) -> Result<usize, DrillError> {
    let mut found = None;
    until("a worker decides the commands", async || {
        for (index, hand) in hands.iter().enumerate() {
            if Some(index) != frozen && hand.decides().await {
                found = Some(index);
            }
        }
        Ok(found.is_some())
    })
    .await?;
    Ok(found.expect("it was waited for"))
}
