//! Ten thousand due at one moment, unscaled, beside a bare relay that is let loose on as many.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::conditions::Bench;
use super::results::Burst;
use crate::bench::{Flow, Flown, Profile, Progress, Report, Subject};

const MESSAGES: u64 = 10_000;
const LONGEST: Duration = Duration::from_secs(20);

pub async fn measure(bench: &Bench) -> anyhow::Result<Burst> {
    let settings = ["hold.max_messages=20000".to_owned()];
    let environment = bench.environment("burst", 1, &settings).await?;
    let subject = Subject::header(&environment.config);
    let mut burst =
        Burst { messages: MESSAGES, relay_ms: Vec::new(), burst_ms: Vec::new(), early: 0 };
    for round in 0..bench.rounds {
        let relay_ms = relay(bench, round).await?;
        let (flow, _) = flow(&environment, subject.clone());
        let flown = flow.run(Arc::new(Progress::default()), CancellationToken::new()).await?;
        let (burst_ms, early) = told(&flown);
        eprintln!("    relay {relay_ms:.0} ms, burst {burst_ms:.0} ms");
        burst.relay_ms.push(relay_ms);
        burst.burst_ms.push(burst_ms);
        burst.early += early;
    }
    environment.leave().await;
    Ok(burst)
}

/// How long a bare relay takes for as many, from its start to the last arrival.
async fn relay(bench: &Bench, round: usize) -> anyhow::Result<f64> {
    let mut entrant = bench.relay(&format!("burst-relay-{round}")).await?;
    let (flow, lead) = flow(&entrant.environment, entrant.subject.clone());
    let start = async {
        tokio::time::sleep(lead).await;
        entrant.go().await
    };
    let running = flow.run(Arc::new(Progress::default()), CancellationToken::new());
    let (flown, started) = tokio::join!(running, start);
    started?;
    let (ms, _) = told(&flown?);
    entrant.leave().await;
    Ok(ms)
}

fn flow(environment: &crate::bench::Environment, subject: Subject) -> (Flow, Duration) {
    let profile = Profile::Burst { messages: MESSAGES };
    let timing = profile.timing(Clock::default().now().0, LONGEST, 1, MESSAGES);
    (Flow::new(environment, subject, timing), timing.warm_up)
}

fn told(flown: &Flown) -> (f64, u64) {
    let report = Report::of(flown);
    if report.arrived < MESSAGES {
        eprintln!("    only {} of {MESSAGES} arrived", report.arrived);
        return (f64::INFINITY, report.early);
    }
    (report.lateness_ms.max, report.early)
}
