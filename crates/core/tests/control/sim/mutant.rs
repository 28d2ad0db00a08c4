//! What could be left out, and must not be: each is caught by the judge.

use super::event::Attack;

/// One change of the model. The same code runs with all of them: a mutant changes a value on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Messages with a key are released by what was read so far.
    NoFence,
    /// Any worker's fence, when it is read, is taken for an own one.
    SharedFence,
    /// A fence that is delivered again is appended.
    RedeliveredFences,
    /// A registrar stops by `basic.cancel`, and finishes what it holds.
    BasicCancel,
    /// Batches count whoever writes them.
    NoEpoch,
    /// An epoch need not name the one before it.
    AnyEpoch,
    /// Log time is the registrar's wall clock.
    WallClockExpiry,
    /// Answered when decided.
    ReplyBeforeConfirm,
    /// Acknowledged when decided.
    AckBeforeConfirm,
    /// Acknowledged at the stream's confirm, without a look whether the batch counts.
    AckAtConfirm,
    CheckpointWithoutOverrides,
    BlindReleases,
    /// A fence from before a unique schedule lets it go.
    FenceBeforeSchedule,
    /// A fence reaches no due time: it is good for half a second, as first designed.
    NoHorizon,
    /// A wall clock that was set goes unnoticed.
    StepUnnoticed,
    /// Commands that are delivered again are decided again.
    DecidedAgain,
    /// A unique schedule is written down first, and published into the levels then.
    PlacedLast,
    /// Each registrar has another prefetch.
    AnyPrefetch,
    /// A reader goes on where it was, after a power cut.
    ReadsOn,
    /// Acknowledged before the log is on disk.
    AckBeforeDisk,
    /// What a run-now has found is brought forward without asking the registrar.
    MovedUnasked,
    /// The registrar brings forward whatever unique schedule counts, not the one that was found.
    AnyGeneration,
    /// It brings forward what was put off since the run-now.
    AnyWordSince,
    /// What was brought forward sleeps again by what was so before.
    StaleSleepAgain,
    /// A move leaves no mark, and is decided again.
    MoveUnmarked,
    /// What a run-now has found is acknowledged before it is published with its time.
    AckedBeforeMoved,
    /// Ticks are made real wherever their schedule stands, and whatever it says by then.
    MakeAnyPlace,
    /// A pause and an edit only stop what is not made real yet.
    NotWithdrawn,
    /// The log does not tell which runs are not over.
    RunsForgotten,
    /// Nor which tick waits for them.
    WaitingForgotten,
    /// Whoever is done says so of the newest run, whatever its message had.
    DoneOfNewest,
}

impl Mutant {
    pub const ALL: [Mutant; 31] = [
        Mutant::NoFence,
        Mutant::SharedFence,
        Mutant::RedeliveredFences,
        Mutant::BasicCancel,
        Mutant::NoEpoch,
        Mutant::AnyEpoch,
        Mutant::WallClockExpiry,
        Mutant::ReplyBeforeConfirm,
        Mutant::AckBeforeConfirm,
        Mutant::AckAtConfirm,
        Mutant::CheckpointWithoutOverrides,
        Mutant::BlindReleases,
        Mutant::FenceBeforeSchedule,
        Mutant::NoHorizon,
        Mutant::StepUnnoticed,
        Mutant::DecidedAgain,
        Mutant::PlacedLast,
        Mutant::AnyPrefetch,
        Mutant::ReadsOn,
        Mutant::AckBeforeDisk,
        Mutant::MovedUnasked,
        Mutant::AnyGeneration,
        Mutant::AnyWordSince,
        Mutant::StaleSleepAgain,
        Mutant::MoveUnmarked,
        Mutant::AckedBeforeMoved,
        Mutant::MakeAnyPlace,
        Mutant::NotWithdrawn,
        Mutant::RunsForgotten,
        Mutant::WaitingForgotten,
        Mutant::DoneOfNewest,
    ];

    /// The attack that is made for it; others may find it, too.
    pub fn attack(self) -> Attack {
        match self {
            Mutant::NoFence | Mutant::SharedFence | Mutant::AckBeforeConfirm => Attack::None,
            Mutant::CheckpointWithoutOverrides | Mutant::BlindReleases => Attack::None,
            Mutant::NoHorizon => Attack::ClockAhead,
            Mutant::StepUnnoticed => Attack::ClockBack,
            Mutant::RedeliveredFences => Attack::Overtaken,
            Mutant::ReplyBeforeConfirm => Attack::Purged,
            Mutant::BasicCancel | Mutant::NoEpoch | Mutant::AnyEpoch | Mutant::AckAtConfirm => {
                Attack::Elections
            }
            Mutant::FenceBeforeSchedule | Mutant::DecidedAgain | Mutant::PlacedLast => {
                Attack::Elections
            }
            Mutant::AnyPrefetch => Attack::Elections,
            Mutant::AckBeforeDisk | Mutant::ReadsOn => Attack::PowerCuts,
            Mutant::WallClockExpiry => Attack::Outage,
            Mutant::MovedUnasked | Mutant::AnyGeneration | Mutant::StaleSleepAgain => {
                Attack::RunNow
            }
            Mutant::AnyWordSince | Mutant::MoveUnmarked | Mutant::AckedBeforeMoved => {
                Attack::RunNow
            }
            Mutant::MakeAnyPlace | Mutant::NotWithdrawn => Attack::Recurring,
            Mutant::RunsForgotten | Mutant::WaitingForgotten | Mutant::DoneOfNewest => {
                Attack::Recurring
            }
        }
    }
}
