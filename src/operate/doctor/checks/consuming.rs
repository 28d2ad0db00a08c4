//! Whether what was delivered can get lost, or be handled twice without anybody noticing.

use std::time::Duration;

use crate::config::{Config, durations};
use crate::inventory::{QueueInfo, Visible};
use crate::operate::amount::first_of;
use crate::operate::count;
use crate::operate::doctor::check::{Check, Question};
use crate::operate::doctor::findings::{About, Told};
use crate::operate::doctor::seen::{OldestDead, Seen};
use crate::operate::doctor::targets::{dead_letter_exchange, targets};
use crate::operate::doctor::vitals::Vitals;
use crate::topology::Names;

/// Nobody looks at what has been dead for so long.
const LONG_DEAD: Duration = Duration::from_secs(24 * 3_600);

pub(super) const TAG: &str = "give the user of broker.management_uri the tag monitoring";
pub(super) const ASK_WORKERS: &str = "name each worker's http.listen: --worker HOST:PORT";

const MANUAL_ACKS: Question = Question {
    name: "manual-acks",
    asks: "consumers of targets ack what they have handled",
    from: "management API: consumers of the queues that targets.queues opens or a target exchange leads to",
};

pub fn manual_acks(config: &Config, seen: &Seen) -> Check {
    let (open, consumers) = match (open(config, seen), &seen.asked.consumers) {
        (Ok(open), Ok(consumers)) => (open, consumers),
        (Err(why), _) => return MANUAL_ACKS.unseen(why, TAG),
        (_, Err(why)) => return MANUAL_ACKS.unseen(why, TAG),
    };
    let of_targets = consumers.iter();
    let of_targets = of_targets.filter(|one| open.iter().any(|queue| queue.name == one.queue()));
    let (mut manual, mut automatic) = (0, Vec::new());
    for consumer in of_targets {
        match consumer.ack_required {
            Some(true) => manual += 1,
            Some(false) => {
                automatic.push(format!("{} ({})", consumer.queue(), consumer.consumer_tag))
            }
            None => {}
        }
    }
    if !automatic.is_empty() {
        let many = count(automatic.len() as u64, "consumer");
        let evidence = format!(
            "{many} without acks, so what is under way is lost with each: {}",
            first_of(&automatic)
        );
        return MANUAL_ACKS
            .fail(evidence, "consume with no_ack = false, and ack when the work is done");
    }
    if manual == 0 {
        let evidence = "no queue that is open to delayed messages has a consumer now";
        return MANUAL_ACKS.unseen(evidence, "ask again while consumers run");
    }
    MANUAL_ACKS.pass(format!("{} of targets, all with acks", count(manual, "consumer")))
}

const IDEMPOTENCY: Question = Question {
    name: "idempotency",
    asks: "messages have a message_id, by which a duplicate can be told",
    from: "each worker: what it has taken in since its start",
};

pub fn idempotency(seen: &Seen) -> Check {
    let Some((scheduled, without)) = counted(seen, |vitals| vitals.without_message_id) else {
        return IDEMPOTENCY.unseen(not_asked(seen), ASK_WORKERS);
    };
    match (scheduled, without) {
        (0, _) => {
            IDEMPOTENCY.unseen("no worker has taken anything in since its start", "ask again later")
        }
        (_, 0) => IDEMPOTENCY
            .pass(format!("{} taken in, each with a message_id", count(scheduled, "message"))),
        (_, without) => IDEMPOTENCY.warn(
            format!("{without} of {} had no message_id", count(scheduled, "message")),
            "set a message_id that is the same when the publish is repeated: docs/idempotency.md",
        ),
    }
}

const DEAD_LETTERS: Question = Question {
    name: "dead-letters",
    asks: "what consumers of targets reject goes somewhere",
    from: "management API: arguments and policies of the queues that are open to delayed messages",
};

pub fn dead_letters(config: &Config, seen: &Seen) -> Check {
    let names = Names::of(config);
    let told = Told::of(&seen.verified.verdict, &names, About::TargetsDeadLetters);
    if let Some(check) = told.answer(DEAD_LETTERS) {
        return check;
    }
    let open = match open(config, seen) {
        Ok(open) => open,
        Err(why) => return DEAD_LETTERS.unseen(why, TAG),
    };
    let open: Vec<_> = open.into_iter().filter(|queue| queue.queue_type != "stream").collect();
    if open.is_empty() {
        let evidence = "no queue that is open to delayed messages stands";
        return DEAD_LETTERS.unseen(evidence, "declare the targets, and ask again");
    }
    let stands = |exchange: &str| {
        exchange.is_empty()
            || seen.broker.as_ref().is_ok_and(|broker| broker.standing.exchange(exchange).is_some())
    };
    let (mut nowhere, mut without) = (Vec::new(), Vec::new());
    for queue in &open {
        match dead_letter_exchange(queue) {
            Some(exchange) if !stands(exchange) => {
                nowhere.push(format!("{} to {exchange}", queue.name))
            }
            Some(_) => {}
            None => without.push(queue.name.clone()),
        }
    }
    if !nowhere.is_empty() {
        let evidence =
            format!("dead letters go to an exchange that does not stand: {}", first_of(&nowhere));
        return DEAD_LETTERS.fail(evidence, "declare that exchange");
    }
    if !without.is_empty() {
        let many = count(without.len() as u64, "target");
        let evidence = format!(
            "{many} without a dead-letter exchange drop what is rejected: {}",
            first_of(&without)
        );
        return DEAD_LETTERS.warn(evidence, format!("dormouse retry enable {}", without[0]));
    }
    DEAD_LETTERS.pass(format!(
        "{} with a dead-letter exchange, and none without",
        count(open.len() as u64, "target")
    ))
}

const DLQ: Question = Question {
    name: "dlq",
    asks: "nothing lies in the DLQ",
    from: "the DLQ itself, looked at without an ack",
};

pub fn dlq(seen: &Seen) -> Check {
    let OldestDead { messages, since } = match &seen.oldest_dead {
        Ok(None) => return DLQ.pass("it is empty"),
        Ok(Some(oldest)) => *oldest,
        Err(why) => return DLQ.unseen(why, "read on the DLQ for the user of broker.uri"),
    };
    let next = "`dormouse dlq list`, then mend the target, then `dormouse dlq redrive` or `purge`";
    let Some(since) = since else {
        let evidence =
            format!("{}; since when the first is there cannot be told", count(messages, "message"));
        return DLQ.warn(evidence, next);
    };
    let age = seen.at.since(since);
    let age_in_words = durations::duration(Duration::from_secs(age.as_secs()));
    let evidence = format!("{}, the first for {age_in_words}", count(messages, "message"));
    if age > LONG_DEAD { DLQ.fail(evidence, next) } else { DLQ.warn(evidence, next) }
}

fn open<'a>(config: &Config, seen: &'a Seen) -> Visible<Vec<&'a QueueInfo>> {
    let broker = seen.broker.as_ref().map_err(Clone::clone)?;
    Ok(targets(config, &broker.standing))
}

/// What all workers that answered have taken in, and how much of it `of` counts. None if none did.
pub(super) fn counted(seen: &Seen, of: impl Fn(&Vitals) -> Option<u64>) -> Option<(u64, u64)> {
    let vitals = seen.workers.iter().filter_map(|worker| worker.vitals.as_ref().ok());
    let both = vitals.filter_map(|vitals| Some((vitals.scheduled?, of(vitals)?)));
    both.reduce(|(all, some), (more, of_them)| (all + more, some + of_them))
}

/// Why no worker tells.
pub(super) fn not_asked(seen: &Seen) -> String {
    let why = seen.workers.iter().find_map(|worker| worker.vitals.as_ref().err());
    why.cloned().unwrap_or_else(|| "http.listen is off, so no worker can be asked".to_owned())
}
