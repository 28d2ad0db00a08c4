//! In: what is known before a worker begins to consume commands. Out: the epoch that it may begin. Pure.

use std::time::Duration;

use super::horizons::Sequence;
use super::log::Epoch;
use super::registrar::Registrar;
use super::state::{Blindness, State};
use crate::schedule::UnixMs;

/// One that is about to consume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// To be appended at the first delivery.
    pub epoch: Epoch,
}

/// The base grows by 2^20 a ms of wall clock: more than any registrar writes in one.
const BASE_BITS: u32 = 20;
/// And by this at least: more than can be on its way from registrars of before.
const LEAST_STEP: Sequence = 1 << 32;

/// A generation from further ahead was given by no registrar: its base follows the wall clock, or the bases before
/// it, [`LEAST_STEP`] (4 s) at a time.
const FARTHEST_AHEAD: Duration = Duration::from_secs(30 * 86_400);

/// Whether a registrar may have given this generation. Who rejects its own message may have written any into it.
pub fn is_credible(generation: Sequence, now: UnixMs) -> bool {
    generation >> BASE_BITS <= now.plus(FARTHEST_AHEAD).0
}

impl Candidate {
    /// `epoch` is random, `seen` the newest generation of all messages that this worker has held. Errors: who does
    /// not know what is so may not decide.
    pub fn new(state: &State, epoch: u64, now: UnixMs, seen: Sequence) -> Result<Self, Blindness> {
        match state.blindness() {
            // no log, or not read yet: then its epoch will count for nobody
            None | Some(Blindness::NothingRead) => Ok(Self::accepting(state, epoch, now, seen)),
            Some(blindness) => Err(blindness),
        }
    }

    /// The operator's word that what can still be read is all there is.
    pub fn accepting(state: &State, epoch: u64, now: UnixMs, seen: Sequence) -> Self {
        let after = state.last().max(state.base()).max(seen) + LEAST_STEP;
        let base = (now.0 << BASE_BITS).max(after);
        Self { epoch: Epoch { epoch, previous: state.epoch(), base } }
    }

    /// Its epoch has been read back: none if it counts for nobody.
    pub fn elected(&self, state: &State) -> Option<Registrar> {
        (state.epoch() == self.epoch.epoch).then(|| Registrar::begin(&self.epoch, state))
    }
}
