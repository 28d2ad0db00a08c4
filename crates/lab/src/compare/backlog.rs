//! The same load beside a million sleepers and beside none, each in its own virtual host.

use std::time::{Duration, Instant};

use anyhow::Context;
use dormouse_core::clock::Clock;

use super::conditions::Bench;
use super::entrants::Entrant;
use super::flood::{flood, fly, round, trial};
use super::memory::ASLEEP;
use super::results::{Backlog, Side};
use crate::bench::{Delays, Environment, Flow, Profile, Report, Subject, median, usage};

const FLOOD: Delays = Delays { min_ms: 1, max_ms: 4_095 };
const STEADY: Delays = Delays { min_ms: 1_000, max_ms: 5_000 };
const PER_SECOND: f64 = 500.0;
/// The broker takes a moment after so many.
const SETTLE: Duration = Duration::from_secs(5);

pub async fn measure(bench: &Bench) -> anyhow::Result<Backlog> {
    let empty = entrant(bench, "empty").await?;
    let mut full = entrant(bench, "full").await?;
    let rates = [trial(&empty).await?, trial(&full).await?];
    let worker_before = worker_memory(&full.environment);
    load(&full.environment, bench.pending).await?;
    let mut backlog = Backlog {
        pending: bench.pending,
        empty: Side::default(),
        full: Side::default(),
        worker_growth_bytes: None,
        restart_seconds: Vec::new(),
    };
    for _ in 0..bench.rounds {
        for (entrant, rate, side) in
            [(&empty, rates[0], &mut backlog.empty), (&full, rates[1], &mut backlog.full)]
        {
            side.per_second.push(round(bench, entrant, flood(entrant, rate)).await?.per_second);
            let profile = Profile::Steady { per_second: PER_SECOND, delays: STEADY };
            let measured = Duration::from_secs(bench.seconds);
            let report = Report::of(&fly(entrant, profile, measured, 1).await?);
            side.lateness_p99_ms.extend(report.windows.first().map(|one| one.lateness_ms.p99));
        }
        eprintln!(
            "    empty {:?}/s {:?} ms, full {:?}/s {:?} ms",
            backlog.empty.per_second.last(),
            backlog.empty.lateness_p99_ms.last(),
            backlog.full.per_second.last(),
            backlog.full.lateness_p99_ms.last()
        );
    }
    // the same loads ran beside both workers, so what is more is the backlog's
    let (full_after, empty_after) =
        (worker_memory(&full.environment), worker_memory(&empty.environment));
    backlog.worker_growth_bytes = full_after.zip(empty_after).map(|(full, empty)| full - empty);
    eprintln!("    worker {worker_before:?} → {full_after:?} bytes, beside none {empty_after:?}");
    for _ in 0..bench.rounds {
        backlog.restart_seconds.push(restart(bench, &mut full.environment).await?);
    }
    empty.leave().await;
    full.leave().await;
    Ok(backlog)
}

async fn entrant(bench: &Bench, name: &str) -> anyhow::Result<Entrant> {
    let environment = bench.environment(name, 1, &[]).await?;
    let subject = Subject::header(&environment.config);
    let unit = Some(bench.config.topology.unit);
    Ok(Entrant { name: name.into(), environment, subject, delays: FLOOD, unit, relay: None })
}

/// Puts messages to sleep.
async fn load(environment: &Environment, messages: u64) -> anyhow::Result<()> {
    let started = Instant::now();
    let profile = Profile::Pending { messages, delays: ASLEEP };
    let timing = profile.timing(Clock::default().now().0, SETTLE, 0, u64::MAX);
    let flow = Flow::new(environment, Subject::client(&environment.config), timing);
    let confirmed = flow.run(<_>::default(), <_>::default()).await?.published.confirmed;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "    {confirmed} put to sleep in {seconds:.0} s, {:.0}/s",
        confirmed as f64 / seconds
    );
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

fn worker_memory(environment: &Environment) -> Option<f64> {
    let used =
        environment.watched().workers.iter().filter_map(|pid| usage(*pid)).collect::<Vec<_>>();
    median(used.iter().map(|used| used.memory_bytes as f64))
}

/// Stops the worker, starts another one, and tells how long that took to be serving.
async fn restart(bench: &Bench, environment: &mut Environment) -> anyhow::Result<f64> {
    let worker = environment.workers.pop().context("it has a worker")?;
    worker.stop().await?;
    let settings = bench.settings.iter().cloned().chain(["log.filter=error,lapin=off".into()]);
    let arguments: Vec<String> =
        settings.flat_map(|setting| ["--set".to_owned(), setting]).collect();
    let uri = environment.config.broker.uri[0].expose();
    let started = Instant::now();
    let worker = crate::bench::worker(&bench.worker, uri, &arguments).await?;
    let seconds = started.elapsed().as_secs_f64();
    environment.workers.push(worker);
    Ok(seconds)
}
