//! `dormouse index`: reads the ledger into the file until it is told to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::census::{self, CensusError};
use super::error::IndexError;
use super::following::Following;
use super::keeper::{Seen, Work, keep};
use super::measuring::measure;
use super::store::Store;
use crate::amqp::pauses;
use crate::config::{Census, Config};
use crate::worker::Clock;

/// Pieces of work on their way to the file: enough to keep it busy.
const WAITING: usize = 8;
/// Looks whether something is to be forgotten, and every so often at the names of targets.
const FORGET: Duration = Duration::from_secs(60);
const FORGET_TARGETS: u32 = 60;
/// Looks whether a census is needed.
const LOOK: Duration = Duration::from_millis(500);
/// A gap that stands so long is one: a worker may have been slow.
const STANDS: Duration = Duration::from_secs(2);
/// The ledger is read to its end if the index is no older.
const CAUGHT_UP: Duration = Duration::from_secs(5);
/// Two censuses lie at least so far apart, and so many times as long as the last one took.
const REST: Duration = Duration::from_secs(30);
const REST_FACTOR: u32 = 10;
/// Somebody else walks through the levels: whether that is over.
const AGAIN: Duration = Duration::from_secs(10);
/// After an error.
const AFTER_ERROR: Duration = Duration::from_secs(60);

/// Runs until `stop`, through any number of connections.
///
/// Errors: there is no file to be written, or it is damaged.
pub async fn run(config: Config, clock: Clock, stop: CancellationToken) -> Result<(), IndexError> {
    let config = Arc::new(config);
    let file = config.index.file.clone().ok_or(IndexError::NotConfigured)?;
    let mut tasks = JoinSet::new();
    let (work, mut waiting) = mpsc::channel(WAITING);
    let (tell, seen) = watch::channel(Seen::default());
    let (keeper_clock, keeper_stop) = (clock.clone(), stop.clone());
    tasks.spawn_blocking(move || {
        let store = Store::open(&file)?;
        info!(name: "index-open", file = %file.display(), "the index is open");
        keep(store, &keeper_clock, &mut waiting, &tell, &keeper_stop)
    });
    let following = Following {
        config: config.clone(),
        clock: clock.clone(),
        work: work.clone(),
        seen: seen.clone(),
    };
    tasks.spawn(follow(following, stop.clone()));
    tasks.spawn(forget(config.clone(), clock.clone(), work, stop.clone()));
    tasks.spawn(measure(config.clone(), clock.clone(), stop.clone()));
    tasks.spawn(count(config, clock, seen, stop.clone()));
    let mut ended = Ok(());
    while let Some(task) = tasks.join_next().await {
        let task = task.map_err(|error| IndexError::Stopped(error.to_string())).flatten();
        // the first that ends, and the reason of it, ends the others
        stop.cancel();
        ended = ended.and(task);
    }
    ended
}

async fn follow(following: Following, stop: CancellationToken) -> Result<(), IndexError> {
    let broker = &following.config.broker;
    let mut pause = pauses(broker);
    while !stop.is_cancelled() {
        let opened = Instant::now();
        let ended = tokio::select! {
            ended = following.session(&stop) => ended,
            // a connect that hangs
            () = async { stop.cancelled().await; sleep(Duration::from_secs(1)).await } => Ok(()),
        };
        let error = match ended {
            Ok(()) => break,
            Err(IndexError::Stopped(_)) => break,
            Err(error) => error,
        };
        if opened.elapsed() > broker.reconnect_max {
            pause = pauses(broker);
        }
        let wait = pause.next().unwrap_or(broker.reconnect_max);
        warn!(name: "index-read-failed", %error, ?wait, "the ledger cannot be read: the index grows old");
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

async fn forget(
    config: Arc<Config>,
    clock: Clock,
    work: mpsc::Sender<Work>,
    stop: CancellationToken,
) -> Result<(), IndexError> {
    for count in 1_u32.. {
        tokio::select! {
            () = sleep(FORGET) => {}
            () = stop.cancelled() => break,
        }
        let before = clock.now().minus(config.index.history);
        let mut sent = work.send(Work::Forget(before)).await;
        if count.is_multiple_of(FORGET_TARGETS) {
            sent = work.send(Work::ForgetTargets).await;
        }
        if sent.is_err() {
            break;
        }
    }
    Ok(())
}

/// Takes a census when something may be missing.
async fn count(
    config: Arc<Config>,
    clock: Clock,
    seen: watch::Receiver<Seen>,
    stop: CancellationToken,
) -> Result<(), IndexError> {
    if config.index.census == Census::Never {
        stop.cancelled().await;
        return Ok(());
    }
    let (mut stands, mut may_at) = (None, Instant::now());
    while !stop.is_cancelled() {
        tokio::select! {
            () = sleep(LOOK) => {}
            () = stop.cancelled() => break,
        }
        let Seen { gaps, census_since, fresh, .. } = *seen.borrow();
        if gaps == 0 || census_since.is_some_and(|since| clock.now().since(since) < AFTER_ERROR) {
            stands = None;
            continue;
        }
        let since = *stands.get_or_insert_with(Instant::now);
        let caught_up = clock.now().since(fresh) < CAUGHT_UP;
        if !caught_up || since.elapsed() < STANDS || Instant::now() < may_at {
            continue;
        }
        let began = Instant::now();
        let rest = match census::take(&config, &clock, &stop).await {
            Ok(_) => REST.max(began.elapsed() * REST_FACTOR),
            Err(CensusError::Taken) => AGAIN,
            Err(CensusError::Stopped) => break,
            Err(error) => {
                warn!(name: "index-census-failed", %error, again_in = ?AFTER_ERROR, "the levels cannot be looked through: the index stays incomplete");
                AFTER_ERROR
            }
        };
        may_at = Instant::now() + rest;
    }
    Ok(())
}
