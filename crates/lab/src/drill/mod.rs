//! Prove: faults on private brokers under a numbered load, and a checker that judges every message.
//!
//! A load comes from a seed ([`load`]). Two recorders note what was confirmed and what arrived
//! (`recorder`), while a drill does its worst. The checker ([`check()`](check::check)) compares the
//! records with what was asked for and with the README's table ([`contract`]). The same seed gives the
//! same load and the same schedule of faults; only the machine's own timing differs.

use std::time::Duration;

use fastrand::Rng;

mod alarms;
mod api;
mod asked;
mod bad_targets;
mod brokers;
pub mod check;
mod clock;
mod cluster;
pub mod contract;
mod downtime;
mod error;
mod frozen;
pub mod keyed;
mod ledger;
pub mod load;
mod network;
mod outcome;
mod policies;
pub mod posted;
mod posting;
mod proxy;
mod receiver;
mod receivers;
pub mod record;
mod recorder;
mod run;
mod script;
mod site;
mod storm;
mod strangers;
mod ticked;
mod ticking;
mod upgrade;
mod workers;

pub use error::DrillError;
pub use outcome::{Finding, Outcome};
pub use site::Options;

use load::{Load, Shape};

/// What is done to a broker, its workers, or the way between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drill {
    WorkersKilled,
    BrokerDown,
    NetworkTroubled,
    AlarmsRaised,
    BadTargets,
    Policies,
    ClusterBroken,
    ClockStepped,
    WorkersStopped,
    LayoutChanged,
    CancelStorm,
    AllDown,
    RegistrarFrozen,
    ClusterStorm,
    ApiKilled,
    LedgerTroubled,
    ReceiversMisbehave,
    SchedulesTicking,
    Strangers,
    SchedulesOnThree,
}

impl Drill {
    pub const ALL: [Drill; 20] = [
        Drill::WorkersKilled,
        Drill::BrokerDown,
        Drill::NetworkTroubled,
        Drill::AlarmsRaised,
        Drill::BadTargets,
        Drill::Policies,
        Drill::ClusterBroken,
        Drill::ClockStepped,
        Drill::WorkersStopped,
        Drill::LayoutChanged,
        Drill::CancelStorm,
        Drill::AllDown,
        Drill::RegistrarFrozen,
        Drill::ClusterStorm,
        Drill::ApiKilled,
        Drill::LedgerTroubled,
        Drill::ReceiversMisbehave,
        Drill::SchedulesTicking,
        Drill::Strangers,
        Drill::SchedulesOnThree,
    ];

    /// Its number, as documents and `--only` name it. It stays the same; there may be gaps.
    pub fn number(self) -> u32 {
        match self {
            Drill::WorkersKilled => 1,
            Drill::BrokerDown => 2,
            Drill::NetworkTroubled => 3,
            Drill::AlarmsRaised => 4,
            Drill::BadTargets => 5,
            Drill::Policies => 6,
            Drill::ClusterBroken => 7,
            Drill::ClockStepped => 8,
            Drill::WorkersStopped => 9,
            Drill::LayoutChanged => 10,
            Drill::CancelStorm => 11,
            Drill::AllDown => 12,
            Drill::RegistrarFrozen => 13,
            Drill::ClusterStorm => 14,
            Drill::ApiKilled => 15,
            Drill::LedgerTroubled => 16,
            Drill::ReceiversMisbehave => 17,
            Drill::SchedulesTicking => 18,
            Drill::Strangers => 19,
            Drill::SchedulesOnThree => 20,
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Drill::WorkersKilled => "workers killed",
            Drill::BrokerDown => "broker stopped and killed",
            Drill::NetworkTroubled => "network cut, stalled, slowed",
            Drill::AlarmsRaised => "memory and disk alarm",
            Drill::BadTargets => "bad targets among good",
            Drill::Policies => "blanket policies",
            Drill::ClusterBroken => "nodes of a cluster lost",
            Drill::ClockStepped => "clock stepped",
            Drill::WorkersStopped => "workers stopped in order",
            Drill::LayoutChanged => "upgrade by drain",
            Drill::CancelStorm => "cancel storm",
            Drill::AllDown => "cancelled while all is down",
            Drill::RegistrarFrozen => "registrar frozen and killed",
            Drill::ClusterStorm => "cancel storm, a node lost",
            Drill::ApiKilled => "API killed",
            Drill::LedgerTroubled => "ledger stalled, cut, deleted",
            Drill::ReceiversMisbehave => "receivers misbehave",
            Drill::SchedulesTicking => "schedules fire, workers and broker lost",
            Drill::Strangers => "strangers",
            Drill::SchedulesOnThree => "schedules fire, nodes lost",
        }
    }

    /// Runs it, on brokers of its own.
    pub async fn run(self, options: &Options) -> Result<Outcome, DrillError> {
        match self {
            Drill::WorkersKilled => workers::killed(options).await,
            Drill::BrokerDown => brokers::down(options).await,
            Drill::NetworkTroubled => network::troubled(options).await,
            Drill::AlarmsRaised => alarms::raised(options).await,
            Drill::BadTargets => bad_targets::among_good(options).await,
            Drill::Policies => policies::blanket(options).await,
            Drill::ClusterBroken => cluster::broken(options).await,
            Drill::ClockStepped => clock::stepped(options).await,
            Drill::WorkersStopped => workers::stopped(options).await,
            Drill::LayoutChanged => upgrade::drained(options).await,
            Drill::CancelStorm => storm::cancelled(options).await,
            Drill::AllDown => downtime::cancelled(options).await,
            Drill::RegistrarFrozen => frozen::decided(options).await,
            Drill::ClusterStorm => cluster::cancelled(options).await,
            Drill::ApiKilled => api::killed(options).await,
            Drill::LedgerTroubled => ledger::troubled(options).await,
            Drill::ReceiversMisbehave => receivers::misbehaved(options).await,
            Drill::SchedulesTicking => ticking::fired(options).await,
            Drill::Strangers => strangers::came(options).await,
            Drill::SchedulesOnThree => ticking::fired_on_three(options).await,
        }
    }
}

/// Bodies are small but for a few, which are larger than a frame.
const LARGEST_BODY: usize = 200_000;

impl Options {
    /// The load of a drill: half of the time to publish, half for the delays.
    fn load(&self) -> Load {
        Load::new(self.seed, &self.shape())
    }

    fn shape(&self) -> Shape {
        let half = self.duration / 2;
        Shape {
            messages: (f64::from(self.rate) * half.as_secs_f64()).ceil() as u32,
            span: half,
            longest: half,
            absolute: false,
            largest: LARGEST_BODY,
            inboxes: site::INBOXES.map(str::to_owned).into(),
            copies: site::COPIES.into(),
        }
    }

    fn queues(&self) -> Vec<&'static str> {
        site::INBOXES.into_iter().chain([site::COPIES]).collect()
    }

    /// A drill of a minute makes so many faults, a longer one more, a short one at least one.
    fn times(&self, a_minute: u32) -> u32 {
        ((f64::from(a_minute) * self.duration.as_secs_f64() / 60.0).round() as u32).max(1)
    }

    /// A random moment in the `index`th of `of` equal parts of the time from `from` to `to`.
    fn moment(&self, rng: &mut Rng, from: Duration, to: Duration, index: u32, of: u32) -> Duration {
        let part = to.saturating_sub(from) / of.max(1);
        from + part * index + part.mul_f64(rng.f64())
    }
}
