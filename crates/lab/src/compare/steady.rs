//! A steady rate, unscaled, with the defaults; and the same rate without delay, before and after, and
//! through a bare relay: a header's delay counts from intake, so two publishes of a message are late.

use std::time::Duration;

use dormouse_core::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::conditions::Bench;
use super::entrants::{AT_ONCE, CEILING, CLIENT, HEADER, RELAY};
use super::results::SteadyRow;
use crate::bench::{Delays, Flow, Profile, Progress, Report, Subject, WindowReport};

const RATES: [f64; 2] = [1_000.0, 2_000.0];
const DELAYS: Delays = Delays { min_ms: 1_000, max_ms: 60_000 };

pub async fn measure(bench: &Bench) -> anyhow::Result<Vec<SteadyRow>> {
    let environment = bench.environment("steady", 1, &[]).await?;
    let plain = bench.environment("steady-plain", 0, &[]).await?;
    let mut relay = bench.relay("steady-relay").await?;
    relay.go().await?;
    let mut rows = Vec::new();
    for per_second in RATES {
        let config = &environment.config;
        for (name, environment, subject, delays) in [
            (CEILING, &plain, Subject::Undelayed, AT_ONCE),
            (RELAY, &relay.environment, relay.subject.clone(), AT_ONCE),
            (HEADER, &environment, Subject::header(config), DELAYS),
            (CLIENT, &environment, Subject::client(config), DELAYS),
        ] {
            let windows = fly(bench, environment, subject, per_second, delays).await?;
            rows.push(SteadyRow { name, per_second, windows });
        }
    }
    // what still sleeps would disturb the second half of the comparison
    environment.leave().await;
    relay.leave().await;
    for row in rows.iter_mut().filter(|row| row.name == CEILING) {
        let after = fly(bench, &plain, Subject::Undelayed, row.per_second, AT_ONCE).await?;
        row.windows.extend(after);
    }
    plain.leave().await;
    for row in &rows {
        let (p50_ms, p99_ms) = row.lateness_ms().unwrap_or((f64::NAN, f64::NAN));
        eprintln!("    {}/s: p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms  {}", row.per_second, row.name);
    }
    Ok(rows)
}

async fn fly(
    bench: &Bench,
    environment: &crate::bench::Environment,
    subject: Subject,
    per_second: f64,
    delays: Delays,
) -> anyhow::Result<Vec<WindowReport>> {
    let profile = Profile::Steady { per_second, delays };
    let measured = Duration::from_secs(bench.seconds) * bench.rounds as u32;
    let mut timing = profile.timing(Clock::default().now().0, measured, bench.rounds, u64::MAX);
    // the next run's warm-up is as long as what is still asleep
    timing.drain = Duration::from_secs(1);
    let flow = Flow::new(environment, subject, timing);
    let flown = flow.run(<_>::from(Progress::default()), CancellationToken::new()).await?;
    Ok(Report::of(&flown).windows)
}
