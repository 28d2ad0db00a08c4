//! Drill 4: a memory alarm and a disk alarm are set and cleared.

use std::time::Duration;

use fastrand::Rng;

use super::error::DrillError;
use super::load::{Load, Shape};
use super::run::Run;
use super::site::{Site, until};
use super::{Finding, Options, Outcome};

const CATCHING_UP: Duration = Duration::from_secs(2);

/// Somebody has to publish while an alarm is on, or nobody is told of it: messages wake for so long.
const WAKING: Duration = Duration::from_secs(30);

/// How each is set and cleared on a node of our own.
const ALARMS: [(&str, [&str; 2], [&str; 2]); 2] = [
    (
        "memory",
        ["set_vm_memory_high_watermark", "0.000001"],
        ["set_vm_memory_high_watermark", "0.4"],
    ),
    ("disk", ["set_disk_free_limit", "1000000GB"], ["set_disk_free_limit", "50MB"]),
];

pub async fn raised(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open(options).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut outcome = Outcome::default();
    let mut hand = site.hire().await?;
    let longest = options.duration + WAKING;
    let load = Load::new(options.seed, &Shape { longest, ..options.shape() });
    let mut run = Run::begin(&site, load, &options.queues());
    for (name, set, clear) in ALARMS {
        tokio::time::sleep(options.duration.mul_f64(0.05 + 0.1 * rng.f64())).await;
        run.fault_begins();
        site.node().ctl(&set).await?;
        // RabbitMQ tells a connection only when it publishes next
        until("readiness tells of the alarm", async || Ok(!hand.is_ready().await)).await?;
        let before = run.confirmed();
        tokio::time::sleep(options.duration.mul_f64(0.05)).await;
        let meanwhile = run.confirmed() - before;
        outcome.expect(meanwhile == 0, || {
            Finding::new("confirmed under an alarm, so it was none", meanwhile)
        });
        site.node().ctl(&clear).await?;
        hand.until_ready().await?;
        run.fault_ends(CATCHING_UP);
        outcome.notes.push(format!("{name} alarm: publishers blocked, /readyz told"));
        outcome.faults += 1;
    }
    outcome.verdict = run.end().await?;
    outcome.expect_never_early(std::slice::from_ref(&hand)).await;
    let twice = outcome.verdict.duplicates.ours();
    outcome.expect(twice == 0, || Finding::new("duplicated without a lost connection", twice));
    Ok(outcome)
}
