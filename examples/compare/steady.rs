//! A steady rate, unscaled, with the defaults; and the same rate without delay, before and after, and
//! through a bare relay, which is what a message from a queue to its target cannot do without.

use std::time::Duration;

use anyhow::Context;
use dormouse::bench::{Contestant, Delays, Flow, Profile, Progress, Report, WindowReport};
use dormouse::worker::Clock;
use tokio_util::sync::CancellationToken;

use crate::Bench;
use crate::results::SteadyRow;

const RATES: [f64; 2] = [1_000.0, 2_000.0];
const DELAYS: Delays = Delays { min_ms: 1_000, max_ms: 60_000 };
const AT_ONCE: Delays = Delays { min_ms: 0, max_ms: 0 };

pub async fn measure(bench: &Bench) -> anyhow::Result<Vec<SteadyRow>> {
    let ground = bench.ground("steady", 1, &[]).await?;
    let plain = bench.ground("steady-plain", 0, &[]).await?;
    let contestant = Contestant::header(&ground.config);
    let mut relay = bench.relay("steady-relay").await?;
    relay.relay.as_mut().context("it relays")?.go().await?;
    let mut rows = Vec::new();
    for per_second in RATES {
        let undelayed = || fly(bench, &plain, Contestant::Undelayed, per_second, AT_ONCE);
        let mut row = SteadyRow {
            per_second,
            undelayed: undelayed().await?,
            relayed: fly(bench, &relay.ground, relay.contestant.clone(), per_second, AT_ONCE)
                .await?,
            delayed: fly(bench, &ground, contestant.clone(), per_second, DELAYS).await?,
            peak_memory_bytes: None,
        };
        let memory = row.delayed.iter().filter_map(|window| Some(window.workers?.memory_bytes));
        row.peak_memory_bytes = memory.max();
        rows.push(row);
    }
    relay.leave().await;
    // what still sleeps would disturb the second half of the comparison
    ground.leave().await;
    for row in &mut rows {
        let after = fly(bench, &plain, Contestant::Undelayed, row.per_second, AT_ONCE).await?;
        row.undelayed.extend(after);
        eprintln!(
            "    {}/s: p99 {:.1} ms delayed, {:.1} ms undelayed",
            row.per_second,
            p99(&row.delayed).unwrap_or(f64::NAN),
            p99(&row.undelayed).unwrap_or(f64::NAN)
        );
    }
    plain.leave().await;
    Ok(rows)
}

pub fn p99(windows: &[WindowReport]) -> Option<f64> {
    dormouse::bench::median(windows.iter().map(|window| window.lateness_ms.p99))
}

pub fn p50(windows: &[WindowReport]) -> Option<f64> {
    dormouse::bench::median(windows.iter().map(|window| window.lateness_ms.p50))
}

async fn fly(
    bench: &Bench,
    ground: &dormouse::bench::Ground,
    contestant: Contestant,
    per_second: f64,
    delays: Delays,
) -> anyhow::Result<Vec<WindowReport>> {
    let profile = Profile::Steady { per_second, delays };
    let measured = Duration::from_secs(bench.seconds) * bench.rounds as u32;
    let mut timing = profile.timing(Clock::default().now(), measured, bench.rounds, u64::MAX);
    // the next run's warm-up is as long as what is still asleep
    timing.drain = Duration::from_secs(1);
    let flow = Flow::new(ground, contestant, timing);
    let flown = flow.run(<_>::from(Progress::default()), CancellationToken::new()).await?;
    Ok(Report::of(&flown).windows)
}
