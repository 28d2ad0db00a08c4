//! Whether what should stand does, and what becomes of what fails.

use crate::config::Config;
use crate::operate::count;
use crate::operate::doctor::check::{Check, Question};
use crate::operate::doctor::findings::{About, Told};
use crate::operate::doctor::seen::Seen;
use crate::operate::status::overview::Stage;
use crate::topology::{Names, Topology};

const TOPOLOGY: Question = Question {
    name: "topology",
    asks: "exchanges, queues, bindings and policies are as they should be",
    from: "`dormouse topology verify`",
};

pub fn topology(config: &Config, seen: &Seen) -> Check {
    let told = Told::of(&seen.verified.verdict, &Names::of(config), About::Topology);
    if let Some(check) = told.answer(TOPOLOGY) {
        return check;
    }
    if let Err(why) = &seen.verified.rabbitmq_version {
        let next = "let the management API answer: broker.management_uri";
        return TOPOLOGY.unseen(format!("all exchanges and queues exist; {why}"), next);
    }
    let Topology { exchanges, queues, bindings } = Topology::of(config);
    TOPOLOGY.pass(format!(
        "{}, {} and {} stand as they should",
        count(queues.len() as u64, "queue"),
        count(exchanges.len() as u64, "exchange"),
        count(bindings.len() as u64, "binding"),
    ))
}

const FAILED_SENDS: Question = Question {
    name: "failed-sends",
    asks: "what cannot be delivered or routed is kept for somebody to look at",
    from: "`dormouse topology verify` and `dormouse status`: the DLQ, parking, alternate exchanges",
};

pub fn failed_sends(config: &Config, seen: &Seen) -> Check {
    let (names, overview) = (Names::of(config), &seen.status.overview);
    for queue in [names.dlq(), names.parking()] {
        if let Some(limit) = seen.status.seen.full.get(&queue) {
            let evidence = format!(
                "{queue} is as long as a policy lets it be ({limit}): what is dead sleeps until it has room"
            );
            return FAILED_SENDS.fail(
                evidence,
                "look at it (`dormouse dlq list`), empty it, or take the policy away",
            );
        }
    }
    if let Some(kept) = seen.status.seen.kept.as_ref().filter(|kept| kept.messages > 0) {
        let kept = count(kept.messages as u64, "message");
        let evidence = format!("RabbitMQ takes {kept} from nobody, not even for the DLQ");
        return FAILED_SENDS.fail(evidence, "raise the limit that `dormouse status` names");
    }
    let is_parked = |stage: &&Stage| stage.name == "parking" && stage.counts.ready > Some(0);
    if let Some(parked) = overview.stages.iter().find(is_parked) {
        let parked = count(parked.counts.ready.unwrap_or(0), "message");
        let evidence = format!(
            "{parked} found no queue inside Dormouse, and are parked until a worker plans them again"
        );
        return FAILED_SENDS.fail(evidence, "dormouse topology plan");
    }
    let told = Told::of(&seen.verified.verdict, &names, About::FailedSends);
    if let Some(check) = told.answer(FAILED_SENDS) {
        return check;
    }
    if let Err(why) = &seen.verified.rabbitmq_version {
        let next = "let the management API answer: broker.management_uri";
        return FAILED_SENDS.unseen(format!("limits and alternate exchanges: {why}"), next);
    }
    let (dlq, parking) = (names.dlq(), names.parking());
    FAILED_SENDS.pass(format!(
        "after {} a message goes to {dlq}, which has room; what finds no queue goes to {parking}",
        count(config.attempts.max.into(), "attempt")
    ))
}
