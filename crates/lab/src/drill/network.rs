//! Drill 3: the way between workers and broker is cut, stalled and slowed.

use std::time::Duration;

use fastrand::Rng;

use super::error::DrillError;
use super::load::{Load, Shape};
use super::proxy::{Fault, Link, Proxy, Way};
use super::run::Run;
use super::site::Site;
use super::{Options, Outcome};

/// Publishes that vanish, confirms that do not come, acks that do not arrive, deliveries that do not
/// come, all at once, and a slow line.
const FAULTS: [Fault; 7] = [
    Fault::Cut,
    Fault::Stall(Link::Publish, Way::ToBroker),
    Fault::Stall(Link::Publish, Way::ToWorker),
    Fault::Stall(Link::Consume, Way::ToBroker),
    Fault::Stall(Link::Consume, Way::ToWorker),
    Fault::Stall(Link::Both, Way::Both),
    Fault::Slow,
];

/// From about half to twice the time after which a silent connection is given up.
const LASTS: std::ops::Range<f64> = 2.0..6.0;

/// For messages that sleep through the faults and wake after them.
const AFTERWARDS: Duration = Duration::from_secs(8);

const CATCHING_UP: Duration = Duration::from_secs(2);

pub async fn troubled(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open(options).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut outcome = Outcome::default();
    let proxy = Proxy::before(site.node().amqp_port()).await?;
    let through = format!("amqp://guest:guest@127.0.0.1:{}/%2f", proxy.port());
    let mut hands = Vec::new();
    for _ in 0..2 {
        hands.push(site.hire_with(&[("broker.uri", &through)]).await?);
    }
    let mut faults = FAULTS;
    rng.shuffle(&mut faults[1..]);
    let longest = options.duration + AFTERWARDS;
    let load = Load::new(options.seed, &Shape { longest, ..options.shape() });
    let mut run = Run::begin(&site, load, &options.queues());
    for fault in faults.into_iter().take(options.times(7).clamp(2, 7) as usize) {
        let pause = options.duration.as_secs_f64() / 60.0;
        tokio::time::sleep(Duration::from_secs_f64(pause * (1.0 + rng.f64()))).await;
        run.fault_begins();
        proxy.set(fault);
        if fault != Fault::Cut {
            let lasts = LASTS.start + (LASTS.end - LASTS.start) * rng.f64();
            tokio::time::sleep(Duration::from_secs_f64(lasts)).await;
            proxy.clear();
        }
        // what was cut off has to be noticed before it can be ready again
        tokio::time::sleep(CATCHING_UP).await;
        for hand in &mut hands {
            hand.until_ready().await?;
        }
        run.fault_ends(CATCHING_UP);
        outcome.notes.push(fault.to_string());
        outcome.faults += 1;
    }
    outcome.verdict = run.end().await?;
    outcome.expect_never_early(&hands).await;
    Ok(outcome)
}
