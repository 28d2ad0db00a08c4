//! What could lose, delay, duplicate or hide messages in this very installation: question by question, each with what was
//! seen, where, and what to do.
//!
//! | | in → out |
//! |---|---|
//! | `seen` | a broker, workers, files → what they show, and why the rest was not seen |
//! | `findings`, `targets`, `validity` | what `verify` found, which queues are targets, until when a certificate is valid |
//! | `checks` | what was seen → [`Check`]s; pure |
//! | [`canary`] | one message through the whole path → what became of it |

use std::time::Duration;

use serde_json::{Value as Json, json};

mod broker_files;
pub mod canary;
mod certificates;
mod check;
mod checks;
mod findings;
mod publishers;
mod seen;
mod targets;
mod validity;
mod vitals;

pub use check::{Check, Grade};

use super::vhost_name;
use crate::amqp::AmqpError;
use crate::config::Config;
use crate::management::ManagementError;
use crate::schedule::UnixMs;
use crate::worker::Clock;
use canary::Fate;

/// How to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Where workers answer, `host:port`. Empty: where one of this configuration does on this machine.
    pub workers: Vec<String>,
    /// Whether a message is sent through the whole path, and with which delay.
    pub canary: Option<Duration>,
}

/// Every question with its answer.
#[derive(Debug)]
pub struct Examined {
    pub at: UnixMs,
    pub checks: Vec<Check>,
    /// Of the node that answered, or why the management API told nothing.
    pub rabbitmq_version: Result<String, ManagementError>,
}

/// Nothing could be seen over AMQP. What else cannot be seen is no error: its checks are [`Grade::Unseen`].
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DoctorError(#[from] pub AmqpError);

/// Looks once at everything. Changes nothing; a canary leaves nothing behind.
pub async fn doctor(config: &Config, clock: &Clock, look: &Look) -> Result<Examined, DoctorError> {
    let own = config.http.listen.map(vitals::address);
    let workers =
        if look.workers.is_empty() { own.into_iter().collect() } else { look.workers.clone() };
    let seen = seen::see(config, clock, &workers).await?;
    let mut checks = checks::all(config, &seen);
    if let Some(delay) = look.canary {
        let fate = match seen.status.overview.workers {
            Some(0) => Fate::without_workers(),
            Some(_) | None => canary::fly(config, clock, delay).await,
        };
        checks.push(fate.check(delay));
    }
    Ok(Examined { at: seen.at, checks, rabbitmq_version: seen.verified.rabbitmq_version })
}

impl Examined {
    pub fn count(&self, grade: Grade) -> usize {
        self.checks.iter().filter(|check| check.grade == grade).count()
    }

    /// As programs get it.
    pub fn document(&self, config: &Config) -> Json {
        let counts = Grade::ALL.map(|grade| (grade.as_str().to_owned(), json!(self.count(grade))));
        json!({
            "at": self.at.to_string(),
            "vhost": vhost_name(config),
            "rabbitmq_version": self.rabbitmq_version.as_ref().ok(),
            "grades": Json::Object(counts.into_iter().collect()),
            "checks": self.checks,
        })
    }
}
