//! Whether a node or a disk that is lost takes messages along, and how near alarms are.

use crate::config::{Config, QueueType};
use crate::inventory::{NodeInfo, QueueInfo};
use crate::operate::amount::first_of;
use crate::operate::doctor::check::{Check, Question};
use crate::operate::doctor::findings::{About, Told};
use crate::operate::doctor::seen::Seen;
use crate::operate::doctor::targets::targets;
use crate::operate::{count, number};
use crate::topology::{Names, Topology};

use super::consuming::{TAG, counted};

/// With fewer replicas, the loss of a node for good loses the queue.
const REPLICAS: usize = 3;

/// From this share of a limit on it is told.
const NEAR: f64 = 0.8;

const REPLICAS_ONLINE: Question = Question {
    name: "replicas",
    asks: "every queue of Dormouse's has a majority of its replicas, on three nodes",
    from: "management API: members and those online of each queue, and the nodes of the cluster",
};

pub fn replicas(config: &Config, seen: &Seen) -> Check {
    let told = Told::of(&seen.verified.verdict, &Names::of(config), About::Replicas);
    if let Some(check) = told.answer(REPLICAS_ONLINE) {
        return check;
    }
    let nodes = match seen.broker.as_ref().map(|broker| &broker.nodes) {
        Ok(Ok(nodes)) => *nodes,
        Ok(Err(why)) | Err(why) => return REPLICAS_ONLINE.unseen(why, TAG),
    };
    if config.topology.queue_type == QueueType::Classic {
        let evidence = "topology.queue_type is classic: each queue is on one node";
        return REPLICAS_ONLINE
            .warn(evidence, "topology.queue_type = \"quorum\": docs/operations.md");
    }
    by_members(&ours(config, seen), nodes)
}

/// Of the queues of ours, in a cluster of so many nodes.
fn by_members(ours: &[&QueueInfo], nodes: usize) -> Check {
    let (mut lost, mut fewer, mut untold) = (Vec::new(), Vec::new(), 0);
    for queue in ours {
        let (Some(members), Some(online)) = (&queue.members, &queue.online) else {
            untold += 1;
            continue;
        };
        let says = format!("{} {} of {}", queue.name, online.len(), members.len());
        if online.len() * 2 <= members.len() {
            lost.push(says);
        } else if online.len() < members.len() || members.len() < nodes.min(REPLICAS) {
            fewer.push(says);
        }
    }
    if !lost.is_empty() {
        let many = count(lost.len() as u64, "queue");
        let evidence =
            format!("{many} without a majority, which take and give nothing: {}", first_of(&lost));
        return REPLICAS_ONLINE.fail(evidence, "start the nodes that are down");
    }
    if !fewer.is_empty() {
        let many = count(fewer.len() as u64, "queue");
        let evidence =
            format!("{many} with replicas that are down or missing: {}", first_of(&fewer));
        return REPLICAS_ONLINE
            .warn(evidence, "start the nodes that are down; rabbitmq-queues grow NODE all");
    }
    if untold > 0 {
        let why = format!("RabbitMQ has not told of {} yet", count(untold, "queue"));
        return REPLICAS_ONLINE.unseen(why, "ask again in some seconds");
    }
    match nodes {
        1 => REPLICAS_ONLINE.warn(
            "the cluster has one node: a disk that is lost takes all that sleeps along",
            "three nodes, all of them named in broker.uri",
        ),
        nodes => REPLICAS_ONLINE.pass(format!(
            "all replicas of all queues are online, on {} nodes",
            nodes.min(REPLICAS)
        )),
    }
}

const PERSISTENCE: Question = Question {
    name: "persistence",
    asks: "a broker that stops loses nothing",
    from: "management API: types, strategies and flags of queues; each worker: delivery modes since its start",
};

pub fn persistence(config: &Config, seen: &Seen) -> Check {
    let told = Told::of(&seen.verified.verdict, &Names::of(config), About::Persistence);
    if let Some(check) = told.answer(PERSISTENCE) {
        return check;
    }
    if config.topology.queue_type == QueueType::Classic {
        let evidence = "topology.queue_type is classic, which dead-letters at most once: what expires while the broker stops is lost";
        return PERSISTENCE.warn(evidence, "topology.queue_type = \"quorum\": docs/operations.md");
    }
    let broker = match &seen.broker {
        Ok(broker) => broker,
        Err(why) => return PERSISTENCE.unseen(why, TAG),
    };
    let transient: Vec<_> = targets(config, &broker.standing)
        .into_iter()
        .filter(|queue| !queue.durable)
        .map(|queue| queue.name.clone())
        .collect();
    if !transient.is_empty() {
        let evidence = format!("targets that do not survive a restart: {}", first_of(&transient));
        return PERSISTENCE.warn(evidence, "declare them durable");
    }
    let delivered = match counted(seen, |vitals| vitals.transient) {
        Some((scheduled, transient)) if transient > 0 => {
            let evidence = format!(
                "{} of {} are not persistent: they survive here, and not in a classic target",
                number(transient),
                count(scheduled, "message")
            );
            return PERSISTENCE.warn(evidence, "publish with delivery_mode 2");
        }
        Some((scheduled, _)) if scheduled > 0 => {
            format!("{} taken in, all persistent", count(scheduled, "message"))
        }
        Some(_) | None => {
            "delivery modes were not seen, as no worker tells of a message".to_owned()
        }
    };
    let many = count(ours(config, seen).len() as u64, "queue");
    PERSISTENCE.pass(format!(
        "{many} of Dormouse's are quorum queues that dead-letter at least once; {delivered}"
    ))
}

const HEADROOM: Question = Question {
    name: "headroom",
    asks: "no node is near an alarm, which would block all publishers",
    from: "management API: memory, disk and file descriptors of each node",
};

pub fn headroom(seen: &Seen) -> Check {
    let nodes = match &seen.asked.nodes {
        Ok(nodes) => nodes,
        Err(why) => return HEADROOM.unseen(why, TAG),
    };
    let alarms: Vec<_> = nodes.iter().filter_map(alarm).collect();
    if !alarms.is_empty() {
        return HEADROOM.fail(
            first_of(&alarms),
            "free what is short; nothing is delivered until the alarm clears",
        );
    }
    let near: Vec<_> = nodes.iter().flat_map(near).collect();
    if !near.is_empty() {
        return HEADROOM.warn(first_of(&near), "give the node more, or raise the limit");
    }
    let told: Vec<_> = nodes.iter().filter_map(used).collect();
    if told.is_empty() {
        return HEADROOM.unseen("RabbitMQ has not told of a node yet", "ask again in some seconds");
    }
    HEADROOM.pass(first_of(&told))
}

fn alarm(node: &NodeInfo) -> Option<String> {
    let of = match (node.memory_alarm, node.disk_alarm) {
        (true, true) => "memory and disk",
        (true, false) => "memory",
        (false, true) => "disk",
        (false, false) => return None,
    };
    Some(format!("{} has an alarm: {of}", node.name))
}

fn near(node: &NodeInfo) -> Vec<String> {
    let mut near = Vec::new();
    let name = &node.name;
    if let Some(share) =
        share(node.memory_bytes, node.memory_limit_bytes).filter(|share| *share >= NEAR)
    {
        near.push(format!("{name} uses {:.0} % of the memory that raises an alarm", share * 100.0));
    }
    if let (Some(free), Some(limit)) = (node.disk_free_bytes, node.disk_free_limit_bytes)
        && free < limit.saturating_mul(2)
    {
        near.push(format!(
            "{name} has {} MB of disk left, and an alarm at {} MB",
            free / 1_000_000,
            limit / 1_000_000
        ));
    }
    if let Some(share) = share(node.fd_used, node.fd_total).filter(|share| *share >= NEAR) {
        near.push(format!("{name} uses {:.0} % of its file descriptors", share * 100.0));
    }
    near
}

fn used(node: &NodeInfo) -> Option<String> {
    let memory = share(node.memory_bytes, node.memory_limit_bytes)?;
    let (free, limit) = (node.disk_free_bytes?, node.disk_free_limit_bytes?);
    Some(format!(
        "{}: {:.0} % of the memory that raises an alarm, {} MB of disk above {} MB",
        node.name,
        memory * 100.0,
        free.saturating_sub(limit) / 1_000_000,
        limit / 1_000_000
    ))
}

fn share(used: Option<u64>, limit: Option<u64>) -> Option<f64> {
    let limit = limit.filter(|limit| *limit > 0)?;
    Some(used? as f64 / limit as f64)
}

/// Those of this configuration that stand.
fn ours<'a>(config: &Config, seen: &'a Seen) -> Vec<&'a QueueInfo> {
    let wanted = Topology::of(config);
    let standing = seen.broker.iter().flat_map(|broker| &broker.standing.queues);
    standing.filter(|queue| wanted.has_queue(&queue.name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::operate::doctor::Grade;

    fn queue(members: &[&str], online: &[&str]) -> QueueInfo {
        let queue = json!({
            "name": "dormouse.v1.due", "type": "quorum", "durable": true, "arguments": {},
            "members": members, "online": online,
        });
        serde_json::from_value(queue).expect("a queue")
    }

    #[test]
    fn a_queue_needs_a_majority_and_should_have_all_three() {
        let of = |members: &[&str], online: &[&str], nodes| {
            by_members(&[&queue(members, online)], nodes).grade
        };
        let all = ["a", "b", "c"];
        assert_eq!(of(&all, &all, 3), Grade::Pass);
        assert_eq!(of(&all, &all[..2], 3), Grade::Warn, "one is down");
        assert_eq!(of(&all, &all[..1], 3), Grade::Fail, "no majority");
        assert_eq!(of(&all[..2], &all[..1], 3), Grade::Fail, "half is none");
        assert_eq!(of(&all[..1], &all[..1], 3), Grade::Warn, "declared before the cluster grew");
        assert_eq!(of(&all[..1], &all[..1], 1), Grade::Warn, "one node");
        let untold = QueueInfo { online: None, ..queue(&all, &all) };
        assert_eq!(by_members(&[&untold], 3).grade, Grade::Unseen);
    }

    #[test]
    fn a_node_is_near_an_alarm_before_it_has_one() {
        let roomy = NodeInfo {
            name: "a@b".into(),
            memory_bytes: Some(10),
            memory_limit_bytes: Some(100),
            disk_free_bytes: Some(1_000),
            disk_free_limit_bytes: Some(100),
            fd_used: Some(0),
            fd_total: Some(0),
            ..NodeInfo::default()
        };
        assert!(near(&roomy).is_empty() && alarm(&roomy).is_none() && used(&roomy).is_some());
        let memory = NodeInfo { memory_bytes: Some(85), ..roomy.clone() };
        let disk = NodeInfo { disk_free_bytes: Some(150), ..roomy.clone() };
        let files = NodeInfo { fd_used: Some(900), fd_total: Some(1_000), ..roomy.clone() };
        for node in [memory, disk, files] {
            assert_eq!(near(&node).len(), 1, "{node:?}");
        }
        let alarmed = NodeInfo { disk_alarm: true, ..roomy };
        assert_eq!(alarm(&alarmed).as_deref(), Some("a@b has an alarm: disk"));
    }
}
