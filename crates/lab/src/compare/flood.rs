//! As fast as confirms allow, one after the other, again and again.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::conditions::Bench;
use super::entrants::{Entrant, HEADER, RELAY, RELAY_SLOW};
use super::results::{MaxRow, Round};
use crate::bench::{
    Delays, Flow, Flown, Profile, Progress, Report, Subject, in_flight, load_average, trial_rate,
};

/// More than was made before is kept in flight, so that the load is never what limits.
const HEADROOM: f64 = 1.2;

/// How often the worker is asked how much it holds.
const HELD_EVERY: Duration = Duration::from_millis(200);

pub async fn measure(bench: &Bench) -> anyhow::Result<Vec<MaxRow>> {
    let mut entrants = bench.entrants(|_| true).await?;
    let mut rows = Vec::new();
    let mut rates = Vec::new();
    let mut same_rate = MaxRow::new(RELAY_SLOW, None, Subject::Undelayed);
    for entrant in &mut entrants {
        rates.push(trial(entrant).await?);
        rows.push(MaxRow::new(&entrant.name, entrant.unit, entrant.subject.clone()));
    }
    for round in 0..bench.rounds {
        for (index, entrant) in entrants.iter().enumerate() {
            let measured = self::round(bench, entrant, flood(entrant, rates[index])).await?;
            // a disturbed round must not keep the next one from what it could do, nor a trial's guess for good
            let best = if round == 0 { 0.0 } else { rates[index] };
            rates[index] = measured.per_second.max(best);
            eprintln!("    {} {:>6.0}/s  {}", round + 1, measured.per_second, entrant.name);
            rows[index].rounds.push(measured);
        }
        let last = |name: &str| {
            rows.iter().find(|row| row.name == name)?.rounds.last().map(|round| round.per_second)
        };
        let relay = entrants.iter().find(|entrant| entrant.name == RELAY);
        if let Some((relay, per_second)) = relay.zip(last(HEADER)) {
            let profile = Profile::Steady { per_second, delays: relay.delays };
            let measured = self::round(bench, relay, profile).await?;
            same_rate.rounds.push(measured);
        }
    }
    if !same_rate.rounds.is_empty() {
        rows.push(same_rate);
    }
    for entrant in entrants {
        entrant.leave().await;
    }
    Ok(rows)
}

/// A short flood, not counted: warms up what is cold, and shows how much to keep in flight.
pub async fn trial(entrant: &Entrant) -> anyhow::Result<f64> {
    let flown = fly(entrant, Profile::Trial { delays: entrant.delays }, Duration::ZERO, 0).await?;
    let total = Duration::from_micros(flown.ended_us - flown.started_us);
    Ok(trial_rate(flown.record.arrived, total, entrant.delays))
}

/// A flood for somebody who has made so many a second.
pub fn flood(entrant: &Entrant, rate: f64) -> Profile {
    let delays: Delays = entrant.delays;
    Profile::Max { delays, in_flight: in_flight(rate * HEADROOM, delays) }
}

pub async fn round(bench: &Bench, entrant: &Entrant, profile: Profile) -> anyhow::Result<Round> {
    let delivered_before = delivered(entrant).await;
    let flying = fly(entrant, profile, Duration::from_secs(bench.seconds), 1);
    let (flown, peak_held) = held(entrant, flying).await;
    let flown = flown?;
    let delivered: Vec<f64> = delivered(entrant)
        .await
        .iter()
        .zip(delivered_before)
        .map(|(after, before)| after - before)
        .collect();
    let report = Report::of(&flown);
    let all: f64 = delivered.iter().sum();
    Ok(Round {
        per_second: report.per_second(),
        shares: delivered.iter().map(|each| each / all.max(1.0)).collect(),
        peak_held,
        load_average: load_average(),
        report,
    })
}

/// Runs a flow and meanwhile watches how much the workers hold.
async fn held(
    entrant: &Entrant,
    flying: impl Future<Output = anyhow::Result<Flown>>,
) -> (anyhow::Result<Flown>, Option<f64>) {
    let mut peak = None;
    let mut flying = std::pin::pin!(flying);
    loop {
        tokio::select! {
            flown = &mut flying => return (flown, peak),
            () = tokio::time::sleep(HELD_EVERY), if !entrant.environment.workers.is_empty() => {}
        }
        let mut held = 0.0;
        for worker in &entrant.environment.workers {
            held += worker.metric("dormouse_held_messages").await.unwrap_or(0.0);
        }
        peak = Some(held.max(peak.unwrap_or(0.0)));
    }
}

async fn delivered(entrant: &Entrant) -> Vec<f64> {
    let mut delivered = Vec::new();
    for worker in &entrant.environment.workers {
        delivered.push(worker.metric("dormouse_delivered_total").await.unwrap_or(0.0));
    }
    delivered
}

pub async fn fly(
    entrant: &Entrant,
    profile: Profile,
    measured: Duration,
    windows: usize,
) -> anyhow::Result<Flown> {
    let timing = profile.timing(Clock::default().now().0, measured, windows, u64::MAX);
    let flow = Flow::new(&entrant.environment, entrant.subject.clone(), timing);
    Ok(flow.run(Arc::new(Progress::default()), CancellationToken::new()).await?)
}
