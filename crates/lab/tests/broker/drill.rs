//! Each drill once, short, on brokers of its own: the version that `DORMOUSE_TEST_BROKER` names, else
//! the installed one. `make drill` runs them longer, and on all versions.

use std::path::Path;
use std::time::Duration;

use crate::support::installation;
use dormouse_lab::drill::{Drill, Options};

/// On a machine that runs other tests beside, nothing is as quick as alone.
const BOUND: Duration = Duration::from_secs(3);

async fn run(drill: Drill) {
    let directory = std::env::temp_dir().join(format!("dormouse-drill-{}", uuid::Uuid::now_v7()));
    let options = Options {
        installation: installation(),
        executable: Path::new(env!("CARGO_BIN_EXE_dormouse-lab")).with_file_name("dormouse"),
        directory: directory.clone(),
        seed: 20_261_121,
        duration: Duration::from_secs(8),
        rate: 100,
        bound: BOUND,
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
async fn drill_19_strangers() {
    run(Drill::Strangers).await;
}
