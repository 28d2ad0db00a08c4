//! Whether somebody does the work, and somebody would notice if nobody did.

use crate::operate::doctor::check::{Check, Question};
use crate::operate::doctor::seen::Seen;
use crate::operate::{count, number};

use super::consuming::{ASK_WORKERS, not_asked};

const WORKERS: Question = Question {
    name: "workers",
    asks: "a worker runs, and all of them take part in commands if those are on",
    from: "`dormouse status`: consumers of Dormouse's queues",
};

pub fn workers(seen: &Seen) -> Check {
    let overview = &seen.status.overview;
    let Some(workers) = overview.workers else {
        return WORKERS.unseen("the due queue could not be asked", "dormouse topology plan");
    };
    if workers == 0 {
        let evidence = "none: nothing is scheduled or delivered, and nothing is lost";
        return WORKERS.fail(evidence, "dormouse run");
    }
    if let Some(commands) = seen.status.commands.as_ref().filter(|commands| commands.beside() > 0) {
        let evidence = format!(
            "{} take no part in commands, and deliver what was cancelled",
            count(commands.beside(), "worker")
        );
        return WORKERS.fail(evidence, "the same version and commands.enabled for all workers");
    }
    WORKERS.pass(format!("{} at work", count(workers, "worker")))
}

const BACKLOG_MONITORING: Question = Question {
    name: "backlog-monitoring",
    asks: "somebody watches the backlog: /metrics was asked for in the last minute",
    from: "each worker: when /metrics was asked for last",
};

/// Prometheus' own default is a minute.
const LAST_MINUTE_MS: u64 = 60_000;

pub fn backlog_monitoring(seen: &Seen) -> Check {
    let (mut watched, mut unwatched) = (0, Vec::new());
    for worker in &seen.workers {
        let Ok(vitals) = &worker.vitals else { continue };
        match vitals.scraped_ms_ago {
            Some(ms) if ms <= LAST_MINUTE_MS => watched += 1,
            Some(ms) => unwatched.push(format!(
                "{} was last asked {} s ago",
                worker.address,
                number(ms / 1_000)
            )),
            None => unwatched.push(format!("{} was not asked since its start", worker.address)),
        }
    }
    let next =
        "have Prometheus scrape http.listen every 15 s, with the rules of packaging/alerts.yml";
    match (watched, unwatched.first()) {
        (_, Some(first)) => BACKLOG_MONITORING.warn(first.clone(), next),
        (0, None) => BACKLOG_MONITORING.unseen(not_asked(seen), ASK_WORKERS),
        (watched, None) => BACKLOG_MONITORING.pass(format!(
            "{} asked for its metrics within the last minute",
            count(watched, "worker")
        )),
    }
}
