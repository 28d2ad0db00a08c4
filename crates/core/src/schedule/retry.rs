//! In: the queue that dead-lettered a message, why, and what it has been through. Out: how long until
//! it is brought back there, or why it is not. Pure.

use std::time::Duration;

use regex::Regex;

use super::attempt::{self, Cause, Reason};
use super::retry_state::RetryState;
use super::time::UnixMs;
use crate::settings::{self, Config, DeadLetterReason, durations};

/// The policies of a configuration, by queue.
#[derive(Debug, Clone)]
pub struct Policies {
    by_pattern: Vec<(Regex, Policy)>,
    rest: Policy,
}

/// What happens to what one queue dead-letters.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The pattern in the configuration, for metrics; `default` for all other queues.
    pub name: String,
    retry: settings::Retry,
}

const DEFAULT: &str = "default";

impl Policies {
    /// From a checked configuration, whose patterns are known to compile.
    pub fn of(config: &Config) -> Result<Self, regex::Error> {
        let retry = &config.retry;
        let by_pattern = retry.policies.iter().map(|policy| {
            let name = policy.queues.clone();
            Ok((Regex::new(&name)?, Policy { name, retry: retry.with(policy) }))
        });
        Ok(Self {
            by_pattern: by_pattern.collect::<Result<_, _>>()?,
            rest: Policy { name: DEFAULT.to_owned(), retry: retry.clone() },
        })
    }

    /// The first one whose pattern matches, else the one for all queues.
    pub fn of_queue(&self, queue: &str) -> &Policy {
        let mut matching = self.by_pattern.iter().filter(|(pattern, _)| pattern.is_match(queue));
        matching.next().map_or(&self.rest, |(_, policy)| policy)
    }

    /// The names of all policies.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let all = self.by_pattern.iter().map(|(_, policy)| policy);
        all.chain([&self.rest]).map(|policy| policy.name.as_str())
    }
}

impl Policy {
    /// How often a message is brought back.
    pub fn max_retries(&self) -> u32 {
        match self.retry.ladder.len() {
            0 => self.retry.max_retries,
            rungs => u32::try_from(rungs).unwrap_or(u32::MAX),
        }
    }

    /// How long until a message is brought back after its newest death, which `retry state` has in its history
    /// already. `chance` in 0..1 moves the pause by up to half the jitter either way.
    ///
    /// Errors: why it is dead instead.
    pub fn judge(
        &self,
        reason: DeadLetterReason,
        retry_state: &RetryState,
        now: UnixMs,
        chance: f64,
    ) -> Result<Duration, Cause> {
        let queue = &retry_state.queue;
        if !self.retry.reasons.contains(&reason) {
            let dead = reason_of(reason);
            let detail = format!(
                "queue {queue:?} dead-lettered it as {}, which policy {:?} does not bring back",
                reason.as_str(),
                self.name
            );
            return Err(Cause::new(dead, detail));
        }
        let retries = retry_state.retries;
        let Some(pause) = self.pause(retries, chance) else {
            let detail = format!(
                "queue {queue:?} dead-lettered it as {} after {retries} retries, all that policy {:?} \
                 allows",
                reason.as_str(),
                self.name
            );
            return Err(Cause::new(Reason::RetriesExhausted, detail));
        };
        let first = retry_state.first_death().unwrap_or(now);
        let oldest = self.retry.max_age;
        if now.plus(pause).since(first) > oldest {
            let detail = format!(
                "its next retry, in {}, would be more than {} after queue {queue:?} first \
                 dead-lettered it, {first}",
                durations::duration(Duration::from_secs(pause.as_secs())),
                durations::duration(oldest),
            );
            return Err(Cause::new(Reason::RetryTooOld, detail));
        }
        Ok(pause)
    }

    /// The pause before retry number `retries + 1`; none if there is no such.
    fn pause(&self, retries: u32, chance: f64) -> Option<Duration> {
        let retry = &self.retry;
        if retries >= self.max_retries() {
            return None;
        }
        let (pause, longest) = match retry.ladder.get(retries as usize) {
            Some(rung) => (*rung, Duration::MAX),
            None => {
                let pause = attempt::grown(
                    retry.initial_backoff,
                    retry.multiplier,
                    retries,
                    retry.max_backoff,
                );
                (pause, retry.max_backoff)
            }
        };
        Some(attempt::jittered(pause, retry.jitter, chance).min(longest))
    }
}

/// Why a message is dead that its policy does not bring back.
fn reason_of(reason: DeadLetterReason) -> Reason {
    match reason {
        DeadLetterReason::Rejected => Reason::RetriesExhausted,
        DeadLetterReason::Expired => Reason::Expired,
        DeadLetterReason::Maxlen => Reason::Maxlen,
        DeadLetterReason::DeliveryLimit => Reason::DeliveryLimit,
    }
}
