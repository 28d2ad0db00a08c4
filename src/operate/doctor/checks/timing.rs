//! What makes messages early or late: clocks, timeouts, and what a broker's downtime left behind.

use std::time::Duration;

use crate::config::{Config, durations};
use crate::operate::doctor::broker_files::ConsumerTimeout;
use crate::operate::doctor::check::{Check, Question};
use crate::operate::doctor::findings::{About, Told};
use crate::operate::doctor::seen::{Drift, Seen};
use crate::topology::{Names, wait_ttl};

use super::consuming::{ASK_WORKERS, TAG, not_asked};

/// Clocks that NTP keeps are within some ms of each other.
const APART_MS: i64 = 1_000;

const CLOCKS: Question = Question {
    name: "clocks",
    asks: "the clocks of workers and RabbitMQ agree with this machine's to a second",
    from: "each worker; management API: the header Date of an answer",
};

pub fn clocks(seen: &Seen) -> Check {
    let mut apart = Vec::new();
    let mut agree = Vec::new();
    for worker in seen.workers.iter().filter(|worker| worker.vitals.is_ok()) {
        let says = format!("{} is {} ms ahead", worker.address, worker.ahead_ms);
        if worker.ahead_ms.abs() > APART_MS { apart.push(says) } else { agree.push(says) }
    }
    match &seen.asked.clock {
        Ok(Drift { least_ms, most_ms }) => {
            let says = format!("RabbitMQ is {least_ms} to {most_ms} ms ahead");
            let is_apart = *least_ms > APART_MS || *most_ms < -APART_MS;
            if is_apart { apart.push(says) } else { agree.push(says) }
        }
        Err(_) if !apart.is_empty() => {}
        Err(why) => return CLOCKS.unseen(format!("RabbitMQ's: {why}"), TAG),
    }
    if !apart.is_empty() {
        let evidence = format!("{}; due times follow the worker's clock", apart.join("; "));
        return CLOCKS.fail(evidence, "run NTP on all machines");
    }
    if seen.workers.iter().all(|worker| worker.vitals.is_err()) {
        return CLOCKS.unseen(
            format!("{}; no worker's: {}", agree.join("; "), not_asked(seen)),
            ASK_WORKERS,
        );
    }
    CLOCKS.pass(agree.join("; "))
}

const DEAD_LETTER_TIMEOUT: Question = Question {
    name: "dead-letter-timeout",
    asks: "a message that could not go on to its next level is tried again within seconds",
    from: "RabbitMQ's own files, if they are on this machine",
};

/// What docs/operations.md advises, with room for another taste.
const SOON: Duration = Duration::from_secs(15);

pub fn dead_letter_timeout(seen: &Seen) -> Check {
    let files = match &seen.files {
        Ok(files) => files,
        Err(why) => {
            let ask = "rabbitmqctl eval 'application:get_env(rabbit, dead_letter_worker_publisher_confirm_timeout).'";
            return DEAD_LETTER_TIMEOUT.unseen(why, format!("on each node: {ask} should say 5000"));
        }
    };
    let read = files.files.join(", ");
    let next = "set it to 5000 in advanced.config: docs/operations.md";
    match files.dead_letter_timeout {
        None => {
            DEAD_LETTER_TIMEOUT.warn(format!("{read} do not set it, so it is 180,000 ms"), next)
        }
        Some(timeout) if timeout > SOON => {
            DEAD_LETTER_TIMEOUT.warn(format!("it is {}", durations::duration(timeout)), next)
        }
        Some(timeout) => {
            DEAD_LETTER_TIMEOUT.pass(format!("it is {}, by {read}", durations::duration(timeout)))
        }
    }
}

const CONSUMER_TIMEOUT: Question = Question {
    name: "consumer-timeout",
    asks: "RabbitMQ waits longer for an ack than a worker holds a message",
    from: "`dormouse topology verify` for policies; RabbitMQ's own files, if they are on this machine",
};

/// <https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout>
const BY_DEFAULT: Duration = Duration::from_secs(30 * 60);

pub fn consumer_timeout(config: &Config, seen: &Seen) -> Check {
    let told = Told::of(&seen.verified.verdict, &Names::of(config), About::ConsumerTimeout);
    if let Some(check) = told.answer(CONSUMER_TIMEOUT) {
        return check;
    }
    let unit = config.topology.unit;
    let held = unit + wait_ttl(unit) + config.hold.margin;
    let (timeout, how) = match &seen.files {
        Ok(files) => match files.consumer_timeout {
            Some(ConsumerTimeout::Never) => {
                return CONSUMER_TIMEOUT.pass("RabbitMQ waits without end");
            }
            Some(ConsumerTimeout::After(timeout)) => (timeout, "by RabbitMQ's files"),
            None => (BY_DEFAULT, "RabbitMQ's default, which its files do not change"),
        },
        Err(why) => {
            let ask = "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'";
            let held_ms = held.as_millis();
            let next = format!("on each node: {ask} should say more than {held_ms}");
            return CONSUMER_TIMEOUT.unseen(why, next);
        }
    };
    let evidence = format!(
        "it is {}, {how}; a worker holds for {} at most",
        durations::duration(timeout),
        durations::duration(held)
    );
    if timeout > held {
        CONSUMER_TIMEOUT.pass(evidence)
    } else {
        CONSUMER_TIMEOUT
            .fail(evidence, "raise consumer_timeout in rabbitmq.conf; its default is 1800000")
    }
}

const SWEEP: Question = Question {
    name: "sweep",
    asks: "what sleeps was planned again since RabbitMQ's last start",
    from: "the queue with the mark of the sweep",
};

pub fn sweep(config: &Config, seen: &Seen) -> Check {
    let queue = Names::of(config).swept();
    let late = "what a broker's downtime held up may be late by as much";
    if config.sweep.rate == 0 {
        return SWEEP
            .warn(format!("sweep.rate is 0: {late}"), "set sweep.rate; its default is 1000");
    }
    match &seen.swept {
        Err(why) => SWEEP.unseen(why, "read on that queue for the user of broker.uri"),
        Ok(Some(depth)) if depth.ready > 0 => SWEEP.pass(format!("{queue} has its mark")),
        Ok(Some(depth)) if depth.consumers > 0 => {
            SWEEP.warn(format!("a worker is at it: {late}"), "ask again in a minute")
        }
        Ok(Some(_) | None) => SWEEP.warn(
            format!("{queue} has no mark: {late}"),
            "a worker that may configure and read that queue and read the levels: docs/operations.md",
        ),
    }
}
