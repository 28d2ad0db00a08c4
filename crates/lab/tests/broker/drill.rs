//! Each drill once, short, on brokers of its own: the version that `DORMOUSE_TEST_BROKER` names, else
//! the installed one. `make drill` runs them longer, and on all versions.

use std::path::Path;
use std::time::Duration;

use crate::support::installation;
use dormouse_lab::drill::{Drill, Options};

/// On a machine that runs other tests beside, nothing is as quick as alone.
const BOUND: Duration = Duration::from_secs(3);

/// What all workers, a broker or a node were down for is done beside what has a key, on two cores.
const BOUND_WITH_KEYS: Duration = Duration::from_secs(10);

async fn run(drill: Drill) {
    run_within(drill, BOUND).await;
}

async fn run_within(drill: Drill, bound: Duration) {
    let directory = std::env::temp_dir().join(format!("dormouse-drill-{}", uuid::Uuid::now_v7()));
    let options = Options {
        installation: installation(),
        executable: Path::new(env!("CARGO_BIN_EXE_dormouse-lab")).with_file_name("dormouse"),
        directory: directory.clone(),
        seed: 20_261_121,
        duration: Duration::from_secs(8),
        rate: 100,
        bound,
    };
    let outcome = drill.run(&options).await.unwrap();
    let words = outcome.words().join("\n");
    assert!(outcome.passed(), "{drill:?}, logs in {}:\n{words}", directory.display());
    // kept for a look if it fails
    let _ = std::fs::remove_dir_all(&directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_1_workers_killed() {
    run(Drill::WorkersKilled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_2_broker_stopped_and_killed() {
    run(Drill::BrokerDown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_3_network_cut_stalled_slowed() {
    run(Drill::NetworkTroubled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_4_memory_and_disk_alarm() {
    run(Drill::AlarmsRaised).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_5_bad_targets_among_good() {
    run(Drill::BadTargets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_6_blanket_policies() {
    run(Drill::Policies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_7_nodes_of_a_cluster_lost() {
    run(Drill::ClusterBroken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_8_clock_stepped() {
    run(Drill::ClockStepped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_9_workers_stopped_in_order() {
    run(Drill::WorkersStopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_10_upgrade_by_drain() {
    run(Drill::LayoutChanged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_11_cancel_storm() {
    run_within(Drill::CancelStorm, BOUND_WITH_KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_12_cancelled_while_all_is_down() {
    run_within(Drill::AllDown, BOUND_WITH_KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_13_registrar_frozen_and_killed() {
    run_within(Drill::RegistrarFrozen, BOUND_WITH_KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_14_cancel_storm_a_node_lost() {
    run_within(Drill::ClusterStorm, BOUND_WITH_KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_15_api_killed() {
    run(Drill::ApiKilled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_16_ledger_stalled_cut_deleted() {
    run(Drill::LedgerTroubled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_17_receivers_misbehave() {
    run(Drill::ReceiversMisbehave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_18_schedules_fire_once_while_workers_and_broker_are_lost() {
    run_within(Drill::SchedulesTicking, BOUND_WITH_KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drill_19_strangers() {
    run(Drill::Strangers).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes three minutes: `make drill` runs it on every version, drill 14 loses nodes here"]
async fn drill_20_schedules_fire_once_while_nodes_are_lost() {
    run_within(Drill::SchedulesOnThree, BOUND_WITH_KEYS).await;
}
