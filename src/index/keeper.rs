//! The thread that writes the file: SQLite waits for disks, and the runtime must not.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::error::IndexError;
use super::store::{Applied, Incoming, Position, Store};
use super::writers::Gap;
use crate::schedule::UnixMs;
use crate::worker::Clock;

/// What is to be written.
pub enum Work {
    Messages(Vec<Incoming>),
    /// All of the stream is read as of then.
    Fresh(UnixMs),
    /// Something may be missing.
    Miss(Gap),
    /// The stream is another one.
    BeginAgain,
    /// What came to its end before that is forgotten.
    Forget(UnixMs),
    /// Names of targets that no message has any more are forgotten.
    ForgetTargets,
    /// How far all that was sent before has come.
    Position(oneshot::Sender<Option<Position>>),
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub gaps: usize,
    /// A census that began then is under way.
    pub census_since: Option<UnixMs>,
    /// When the last census ended.
    pub censused: Option<UnixMs>,
    pub fresh: UnixMs,
    /// When the last batch was written that was read.
    pub written: Option<UnixMs>,
}

/// Messages of the stream in one transaction, at most, and their bytes.
const TOGETHER: (usize, usize) = (4_000, 32 << 20);
/// After a failure that may pass, such as a full disk.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes until nobody sends any more.
///
/// Errors: the file is damaged; what else goes wrong is tried again until `stop`.
pub fn keep(
    mut store: Store,
    clock: &Clock,
    work: &mut mpsc::Receiver<Work>,
    seen: &watch::Sender<Seen>,
    stop: &CancellationToken,
) -> Result<(), IndexError> {
    let mut gaps = store.standing().ledger.gaps.len();
    let mut next = None;
    tell(&store, seen);
    while let Some(now) = next.take().or_else(|| work.blocking_recv()) {
        match now {
            Work::Messages(mut messages) => {
                next = gather(&mut messages, work);
                let Applied { passed_over, .. } =
                    persist(stop, || store.apply(&messages, clock.now()))?;
                if passed_over > 0 {
                    warn!(
                        name: "index-unreadable-batches",
                        passed_over,
                        "messages of the ledger's stream are no batches that can be read: they count for nothing"
                    );
                }
            }
            Work::Fresh(at) => persist(stop, || store.is_fresh(at))?,
            Work::Miss(gap) => persist(stop, || store.miss(gap.clone()))?,
            Work::BeginAgain => persist(stop, || store.begin_again())?,
            Work::Forget(before) => {
                while persist(stop, || store.forget(before))? && work.is_empty() {}
            }
            Work::ForgetTargets => drop(persist(stop, || store.forget_targets())?),
            Work::Position(ask) => {
                // who asked may have given up
                let _ = ask.send(store.standing().position);
            }
        }
        gaps = tell_of_gaps(&store, gaps);
        tell(&store, seen);
    }
    Ok(())
}

/// Takes what waits behind, and returns what is no message.
fn gather(messages: &mut Vec<Incoming>, work: &mut mpsc::Receiver<Work>) -> Option<Work> {
    let mut bytes: usize = messages.iter().map(|message| message.body.len()).sum();
    while messages.len() < TOGETHER.0 && bytes < TOGETHER.1 {
        match work.try_recv() {
            Ok(Work::Messages(more)) => {
                bytes += more.iter().map(|message| message.body.len()).sum::<usize>();
                messages.extend(more);
            }
            other => return other.ok(),
        }
    }
    None
}

/// Tries until it is done.
fn persist<T>(
    stop: &CancellationToken,
    mut work: impl FnMut() -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    loop {
        match work() {
            Err(error) if error.may_pass() && !stop.is_cancelled() => {
                warn!(name: "index-write-failed", %error, again_in = ?PAUSE, "the index cannot be written");
                #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

fn tell(store: &Store, seen: &watch::Sender<Seen>) {
    let standing = store.standing();
    seen.send_replace(Seen {
        gaps: standing.ledger.gaps.len(),
        census_since: standing.ledger.census_since,
        censused: standing.ledger.censused,
        fresh: standing.fresh,
        written: standing.ledger.written(),
    });
}

fn tell_of_gaps(store: &Store, before: usize) -> usize {
    let gaps = &store.standing().ledger.gaps;
    if gaps.is_empty() && before > 0 {
        info!(name: "index-complete", "a census has made good what was missing: the index is complete");
    }
    for gap in gaps.iter().skip(before) {
        let (kind, writer, since) = (gap.kind.as_str(), gap.writer.as_deref(), gap.since);
        let since = since.map(|since| since.to_string());
        warn!(name: "index-incomplete", kind, writer, since, "something may be missing in the ledger, until a census");
    }
    gaps.len()
}
