//! In: what was seen. Out: an answer to each question. Pure.

use super::check::Check;
use super::seen::Seen;
use crate::config::Config;

mod access;
mod cluster;
mod consuming;
mod publishing;
mod standing;
mod timing;
mod watching;

/// All of them, in the order in which they are told.
pub(super) fn all(config: &Config, seen: &Seen) -> Vec<Check> {
    vec![
        standing::topology(config, seen),
        watching::workers(seen),
        publishing::confirms(seen),
        publishing::publisher_retry(config, seen),
        standing::failed_sends(config, seen),
        consuming::manual_acks(config, seen),
        consuming::idempotency(seen),
        consuming::dead_letters(config, seen),
        consuming::dlq(seen),
        cluster::replicas(config, seen),
        cluster::persistence(config, seen),
        watching::backlog_monitoring(seen),
        timing::clocks(seen),
        cluster::headroom(seen),
        timing::dead_letter_timeout(seen),
        timing::consumer_timeout(config, seen),
        timing::sweep(config, seen),
        access::certificates(config, seen),
        access::permissions(config, seen),
    ]
}
