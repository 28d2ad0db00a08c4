//! Whether what is published to Dormouse can get lost before it is there.

use crate::config::Config;
use crate::inventory::Visible;
use crate::operate::amount::first_of;
use crate::operate::count;
use crate::operate::doctor::check::{Check, Question};
use crate::operate::doctor::publishers::{Publisher, Publishers};
use crate::operate::doctor::seen::Seen;

const CONFIRMS: Question = Question {
    name: "confirms",
    asks: "whoever publishes waits for RabbitMQ's confirm",
    from: "management API: channels that have published to Dormouse's exchanges, while they are open",
};

const WHILE_THEY_PUBLISH: &str =
    "ask again while applications publish; `--canary` tries the way itself";

pub fn confirms(seen: &Seen) -> Check {
    let found = match publishers(seen) {
        Ok(found) => found,
        Err(why) => {
            return CONFIRMS
                .unseen(why, "give the user of broker.management_uri the tag monitoring");
        }
    };
    let without = |is_known: bool| -> Vec<String> {
        let careless = |one: &&Publisher| !one.confirms && one.is_known == is_known;
        found.publishers.iter().filter(careless).map(named).collect()
    };
    let next = "turn publisher confirms on (confirm.select) and wait for them: docs/clients.md";
    let (known, others) = (without(true), without(false));
    if !known.is_empty() {
        let many = count(known.len() as u64, "channel");
        return CONFIRMS.fail(format!("{many} without confirms: {}", first_of(&known)), next);
    }
    if !others.is_empty() {
        let many = count(others.len() as u64, "channel");
        let evidence = format!(
            "{many} without confirms, of which RabbitMQ tells with management.rates_mode = detailed only whether they \
             publish to Dormouse: {}",
            first_of(&others)
        );
        return CONFIRMS.warn(evidence, next);
    }
    if found.publishers.is_empty() {
        return CONFIRMS.unseen(
            "nobody publishes to Dormouse on a channel that is open now",
            WHILE_THEY_PUBLISH,
        );
    }
    if !seen.asked.sees_all() {
        let why = "this user sees its own channels only";
        return CONFIRMS.unseen(why, "give the user of broker.management_uri the tag monitoring");
    }
    let many = count(found.publishers.len() as u64, "channel");
    let rest = match found.not_asked {
        0 => String::new(),
        more => format!(
            "; {} that publish somewhere were not asked",
            count(more as u64, "more channel")
        ),
    };
    CONFIRMS.pass(format!("{many} publish here, all with confirms{rest}"))
}

const PUBLISHER_RETRY: Question = Question {
    name: "publisher-retry",
    asks: "a publish that fails is made again",
    from: "attempts.max of this configuration; management API: which publishers are dormouse_client",
};

pub fn publisher_retry(config: &Config, seen: &Seen) -> Check {
    let attempts = config.attempts.max;
    if attempts <= 1 {
        let evidence = "attempts.max is 1: what a target refuses once goes to the DLQ at once";
        return PUBLISHER_RETRY.fail(evidence, "raise attempts.max; its default is 8");
    }
    let ours = format!("a worker tries each target {attempts} times");
    let next = "repeat what was not confirmed, with the same message_id, until it is: docs/clients.md; dormouse_client does";
    let strangers = match publishers(seen) {
        Ok(found) if !found.publishers.is_empty() && seen.asked.sees_all() => {
            found.publishers.iter().filter(|publisher| !publisher.is_library).count() as u64
        }
        Ok(_) => {
            return PUBLISHER_RETRY
                .unseen(format!("{ours}; of applications none is seen to publish now"), next);
        }
        Err(why) => return PUBLISHER_RETRY.unseen(format!("{ours}; of applications: {why}"), next),
    };
    match strangers {
        0 => PUBLISHER_RETRY
            .pass(format!("{ours}, and all who publish here do so by dormouse_client")),
        strangers => {
            let strangers = count(strangers, "publisher");
            let evidence = format!(
                "{ours}; whether {strangers} by other clients do so does not show at RabbitMQ"
            );
            PUBLISHER_RETRY.unseen(evidence, next)
        }
    }
}

fn publishers(seen: &Seen) -> Visible<&Publishers> {
    seen.asked.publishers.as_ref().map_err(Clone::clone)
}

fn named(Publisher { channel, user, .. }: &Publisher) -> String {
    format!("{channel} of user {user:?}")
}
