//! Drills 7 and 14: three private nodes as a cluster; its leaders die, its nodes die, and one is cut off.

use std::time::Duration;

use dormouse_broker::management::Management;
use dormouse_core::inventory::QueueInfo;
use fastrand::Rng;

use super::error::DrillError;
use super::keyed::run::{self, KeyRun};
use super::load::{Load, Shape};
use super::run::Run;
use super::site::{Site, until};
use super::{Finding, Options, Outcome, storm};
use crate::dev::{self, Node, NodeOptions, WorkerProcess};

const NODES: [&str; 3] = ["drill-a@localhost", "drill-b@localhost", "drill-c@localhost"];

const COOKIE: &str = "drill";

/// New leaders are elected within a second or two; then the workers have to find a living node,
/// and what the lost one did not confirm is dead-lettered again.
pub const CATCHING_UP: Duration = Duration::from_secs(10);

pub async fn broken(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = open(options, &[]).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut outcome = Outcome::default();
    let spread = spread(&site).await?;
    outcome.expect(spread.iter().all(|leaders| *leaders > 0), || {
        Finding::new("leaders are not spread over the nodes", format!("{spread:?}"))
    });
    outcome.notes.push(format!("leaders of our queues on the three nodes: {spread:?}"));
    let mut hands = [site.hire().await?, site.hire().await?];
    let mut run = Run::begin(&site, options.load(), &options.queues());
    let pause = options.duration.mul_f64(0.1);
    for round in 0..3 {
        tokio::time::sleep(pause.mul_f64(0.5 + rng.f64())).await;
        let due = site.names().due();
        let victim = match round {
            0 => leader(&site, 0, &due).await?,
            _ => rng.usize(0..site.nodes.len()),
        };
        run.fault_begins();
        let what = match round {
            0 | 1 => {
                site.nodes[victim].kill();
                if round == 0 { "the due queue's leader killed" } else { "a node killed" }
            }
            _ => {
                cut_off(&site, victim, true).await?;
                "a node cut off from the others"
            }
        };
        tokio::time::sleep(pause).await;
        // the service goes on without that node
        moved_on(&site, &mut hands, victim, round < 2).await?;
        if round < 2 {
            site.nodes[victim].start_again().await?;
        } else {
            cut_off(&site, victim, false).await?;
        }
        whole(&site, victim).await?;
        for hand in &mut hands {
            hand.until_ready().await?;
        }
        run.fault_ends(CATCHING_UP);
        outcome.notes.push(format!("{what}: {}", NODES[victim]));
        outcome.faults += 1;
    }
    outcome.verdict = run.end().await?;
    // the healed cluster is as good as it was: another seed, as the first load's numbers are taken
    let short = options.duration / 4;
    let shape = Shape { span: short, longest: short, messages: 100, ..options.shape() };
    let healed = Load::new(options.seed.wrapping_add(1), &shape);
    outcome.verdict.add(Run::begin(&site, healed, &options.queues()).end().await?);
    outcome.expect_never_early(&hands).await;
    Ok(outcome)
}

/// Drill 14: the cancel storm of drill 11, while the node is lost that leads the commands, and then the one that
/// leads the log.
pub async fn cancelled(options: &Options) -> Result<Outcome, DrillError> {
    let mut site = open(options, &storm::SETTINGS).await?;
    run::declare(&site).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut outcome = Outcome::default();
    let mut hands = [site.hire().await?, site.hire().await?, site.hire().await?];
    let keyed = KeyRun::begin(&site, storm::plan(options).plan(options.seed));
    let mut run = Run::begin(&site, options.load(), &options.queues());
    let pause = options.duration.mul_f64(0.1);
    for (queue, kill) in [(site.names().command(), true), (site.names().log(), false)] {
        tokio::time::sleep(pause.mul_f64(0.5 + rng.f64())).await;
        run.fault_begins();
        let victim = lose(&mut site, &mut hands, &queue, kill, pause).await?;
        run.fault_ends(CATCHING_UP);
        let how = if kill { "killed" } else { "stopped" };
        outcome.notes.push(format!("the leader of {queue} {how}: {victim}"));
        outcome.faults += 1;
    }
    outcome.judge(run, keyed).await?;
    outcome.expect_never_early(&hands).await;
    Ok(outcome)
}

/// The node that leads a queue is killed, or stopped in order, and starts again after a `pause`. Its name.
pub async fn lose(
    site: &mut Site,
    hands: &mut [WorkerProcess],
    queue: &str,
    kill: bool,
    pause: Duration,
) -> Result<&'static str, DrillError> {
    let victim = leading(site, queue).await?;
    if kill {
        site.nodes[victim].kill();
    } else {
        site.nodes[victim].stop().await?;
    }
    tokio::time::sleep(pause).await;
    moved_on(site, hands, victim, true).await?;
    site.nodes[victim].start_again().await?;
    whole(site, victim).await?;
    for hand in hands {
        hand.until_ready().await?;
    }
    Ok(NODES[victim])
}

/// A cluster with everything declared, and a URI that names its three nodes.
pub async fn open(options: &Options, settings: &[(&str, &str)]) -> Result<Site, DrillError> {
    let nodes = cluster(options).await?;
    let uris: Vec<_> = nodes.iter().map(|node| format!("{}/%2f", node.amqp_uri())).collect();
    Site::on(nodes, &uris.join(","), options, settings).await
}

async fn cluster(options: &Options) -> Result<Vec<Node>, DrillError> {
    let Options { installation, directory, .. } = options;
    let adapt = |of_one: &mut NodeOptions| {
        // else the nodes of Mnesia stay apart after they were cut off; Khepri needs no such choice
        if !installation.version().starts_with("4.3") {
            of_one.config = vec!["cluster_partition_handling = pause_minority".to_owned()];
        }
    };
    Ok(dev::cluster(installation, directory, &NODES, COOKIE, adapt).await?)
}

/// How many of our queues each node leads.
async fn spread(site: &Site) -> Result<[usize; 3], DrillError> {
    let management = Management::new(&site.node().management_uri(), None)?;
    let queues = management.queues("/").await?;
    Ok(NODES
        .map(|name| queues.iter().filter(|queue| queue.leader.as_deref() == Some(name)).count()))
}

/// The index of the node that leads a queue, asked of node `of`.
async fn leader(site: &Site, of: usize, queue: &str) -> Result<usize, DrillError> {
    let management = Management::new(&site.nodes[of].management_uri(), None)?;
    let queues = management.queues("/").await?;
    let found = queues.iter().find(|found| found.name == queue);
    // 3.10 tells no leader of a stream, but the node it lives on, which is the same
    let node = |queue: &'_ QueueInfo| queue.leader.clone().or_else(|| queue.node.clone());
    let leader = found.and_then(node).unwrap_or_default();
    NODES
        .iter()
        .position(|name| *name == leader)
        .ok_or_else(|| DrillError::of("the leader of a queue", format!("{queue}: {leader:?}")))
}

/// The node that leads a queue, once a node tells: one that has just started does not know.
async fn leading(site: &Site, queue: &str) -> Result<usize, DrillError> {
    let mut found = None;
    until("a node tells which one leads the queue", async || {
        for of in 0..NODES.len() {
            found = found.or(leader(site, of, queue).await.ok());
        }
        Ok(found.is_some())
    })
    .await?;
    Ok(found.expect("it was waited for"))
}

/// The worker on a lost node finds another, and the due queue another leader.
async fn moved_on(
    site: &Site,
    hands: &mut [WorkerProcess],
    victim: usize,
    is_down: bool,
) -> Result<(), DrillError> {
    for hand in hands.iter_mut().filter(|_| is_down) {
        hand.until_ready().await?;
    }
    let other = (victim + 1) % NODES.len();
    let due = site.names().due();
    until("the due queue has a leader elsewhere", async || {
        Ok(leader(site, other, &due).await.is_ok_and(|leader| leader != victim))
    })
    .await
}

/// The node and the next one see all three run: each question costs a second of CPU.
async fn whole(site: &Site, victim: usize) -> Result<(), DrillError> {
    until("all three nodes are in the cluster", async || {
        for node in [victim, (victim + 1) % NODES.len()] {
            let asked = site.nodes[node].ctl(&["cluster_status", "--formatter", "json", "--quiet"]);
            let status = asked.await.unwrap_or_default();
            let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
            if status["running_nodes"].as_array().map(Vec::len) != Some(NODES.len()) {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

/// Cuts a node off, or heals that: with another cookie for each other, two nodes can neither keep nor
/// make a connection, whichever of them tries. Both connections end at once, since a node that sees
/// one of two would be a partial partition, and a whole cluster that pauses.
async fn cut_off(site: &Site, victim: usize, cut: bool) -> Result<(), DrillError> {
    let others = || (0..NODES.len()).filter(move |other| *other != victim);
    let cookie = |at: usize| if cut { format!("cut-{at}") } else { COOKIE.to_owned() };
    let set =
        |at: usize, far: usize| format!("erlang:set_cookie('{}', '{}')", NODES[far], cookie(at));
    for other in others() {
        site.nodes[other].ctl(&["eval", &format!("{}.", set(other, victim))]).await?;
    }
    let mut expressions: Vec<_> = others().map(|other| set(victim, other)).collect();
    if cut {
        expressions
            .extend(others().map(|other| format!("erlang:disconnect_node('{}')", NODES[other])));
    }
    site.nodes[victim].ctl(&["eval", &format!("{}.", expressions.join(", "))]).await?;
    Ok(())
}
