//! Drill 15: the processes of the HTTP API are killed and stopped while requests are under way, one and both.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;

use super::error::DrillError;
use super::load::{Ends, Load, Shape};
use super::posting::{Told, over_http, post};
use super::run::Run;
use super::site::Site;
use super::{Finding, Options, Outcome};
use crate::dev::WorkerProcess;

/// Requests come in bursts, so that a process has many in hand when it is killed.
const BURST: Duration = Duration::from_millis(500);

/// A process is killed so long after a burst began, at most: about as long as it has work.
const IN_THE_MIDDLE: Duration = Duration::from_millis(20);

/// Every so many bursts something happens, in turns.
const FAULT_EVERY: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    StoppedInOrder,
}

/// What happens to which doors.
const FAULTS: [(Fault, &[usize]); 4] = [
    (Fault::Killed, &[0]),
    (Fault::Killed, &[0, 1]),
    (Fault::StoppedInOrder, &[1]),
    (Fault::Killed, &[1]),
];

/// What is answered with 201 arrives, what is refused does not, and what nobody knows is counted.
pub async fn killed(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = Site::open(options).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut outcome = Outcome::default();
    let hand = site.hire().await?;
    let doors = [WorkerProcess::free_address()?, WorkerProcess::free_address()?];
    let mut apis = [Some(open(&mut site, doors[0]).await?), Some(open(&mut site, doors[1]).await?)];
    let told = Arc::new(Mutex::new(Told::default()));
    let mut run = Run::published(&site, load(options), |load, start, book| {
        post(doors, load, start, book, told.clone())
    });
    run.consume_all(&site, &options.queues());
    let seen = run.seen();
    let bursts = (options.duration / 2).div_duration_f64(BURST) as u32;
    for (burst, (fault, hit)) in (1..bursts).step_by(FAULT_EVERY).zip(FAULTS.into_iter().cycle()) {
        run.at(BURST * burst + IN_THE_MIDDLE.mul_f64(rng.f64())).await;
        for api in hit.iter().filter_map(|door| apis[*door].take()) {
            if fault == Fault::Killed {
                api.kill();
                continue;
            }
            let status = api.stop().await?;
            outcome
                .expect(status.success(), || Finding::new("an API did not stop in order", status));
        }
        for door in hit {
            apis[*door] = Some(open(&mut site, doors[*door]).await?);
        }
        outcome.faults += 1;
    }
    let load = run.load.clone();
    outcome.verdict = run.end().await?;
    let told = told.lock().expect("no panic while noting an answer").clone();
    let arrived: BTreeSet<u32> =
        seen.arrivals().iter().filter_map(|arrival| load.number(&arrival.message)).collect();
    let came = told.unknown.intersection(&arrived).count();
    outcome.notes.push(format!(
        "{} requests answered with 201, {} refused or met by nobody, {} of unknown outcome, of whose messages {came} \
         arrived",
        told.taken,
        told.refused,
        told.unknown.len(),
    ));
    outcome
        .expect(!told.unknown.is_empty(), || Finding::new("no request was under way at", "a kill"));
    for strange in told.strange {
        outcome.expect(false, || Finding::new("a caller", strange));
    }
    outcome.expect_never_early(std::slice::from_ref(&hand)).await;
    Ok(outcome)
}

/// Moments of bursts, and what HTTP can say.
fn load(options: &Options) -> Load {
    let shape = Shape { absolute: true, ..options.shape() };
    let mut load = Load::new(options.seed, &shape);
    for order in &mut load.orders {
        over_http(order);
        let bursts = order.after.div_duration_f64(BURST) as u32;
        order.after = BURST * bursts;
        order.ends = Ends::In([order.message.routing_key.clone()].into());
    }
    load
}

/// A process with nothing but the API.
async fn open(site: &mut Site, door: SocketAddr) -> Result<WorkerProcess, DrillError> {
    let listen = door.to_string();
    site.hire_with(&[("service.roles", "api"), ("api.listen", &listen)]).await
}
