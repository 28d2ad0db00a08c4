//! Cancels, puts off or brings forward what was scheduled with a key.

use crate::control::command::{MOST_KEYS, cancel, reschedule, run_now};
use crate::control::{Key, KeyFault, Outcome, Reply, Told};
use serde_json::{Value as Json, json};

use super::asking::ask;
use super::confirming::PublishError;
use super::{count, number};
use crate::config::{Config, durations};
use crate::message::Message;
use crate::schedule::UnixMs;
use crate::topology::Names;

/// Keys in one call: 10 commands.
pub const MOST_KEYS_AT_ONCE: usize = 10_000;

/// 1 to [`MOST_KEYS_AT_ONCE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

/// Nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("there is no key")]
    None,
    #[error(
        "there are {}, and {} is the most at once: give them in several calls",
        count(*keys as u64, "key"),
        number(MOST_KEYS_AT_ONCE as u64)
    )]
    TooMany { keys: usize },
    #[error("key {key:?}: {fault}")]
    Key { key: String, fault: KeyFault },
}

/// What is to become of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Nothing with them is tried any more. None of them is due after `due_by`, if that is known.
    Cancel { due_by: Option<UnixMs> },
    /// Nothing with them is tried before `due`.
    Reschedule { due: UnixMs },
    /// What was scheduled with the first of them comes then, or now.
    RunNow { due: Option<UnixMs> },
}

/// RabbitMQ has confirmed the commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commanded {
    pub keys: usize,
    /// In the order of the keys, without those that nobody answered for.
    pub told: Vec<Told>,
    /// Why some are missing.
    pub missing: Missing,
}

/// Why there is not an answer for each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// There is.
    None,
    /// Nobody waited.
    NotAwaited,
    /// RabbitMQ has confirmed the commands, so they will hold; but nobody has answered in time.
    Silent(String),
}

impl Keys {
    /// Errors: there are none or too many, or one is no key.
    pub fn checked(keys: &[String]) -> Result<Self, KeysError> {
        match keys.len() {
            0 => return Err(KeysError::None),
            1..=MOST_KEYS_AT_ONCE => {}
            keys => return Err(KeysError::TooMany { keys }),
        }
        let checked = |key: &String| {
            Key::new(key.as_bytes()).map_err(|fault| KeysError::Key { key: key.clone(), fault })
        };
        keys.iter().map(checked).collect::<Result<_, _>>().map(Self)
    }
}

/// Publishes as many commands as it takes, and waits for the answers if `waits`.
///
/// Errors: not all commands are confirmed.
pub async fn command(
    config: &Config,
    keys: &Keys,
    command: Command,
    waits: bool,
) -> Result<Commanded, PublishError> {
    let Keys(keys) = keys;
    let exchange = Names::of(config).command();
    let message = |keys: &[Key]| -> Message {
        match command {
            Command::Cancel { due_by } => cancel(&exchange, keys, due_by),
            Command::Reschedule { due } => reschedule(&exchange, keys, due),
            Command::RunNow { due } => run_now(&exchange, &keys[0], due),
        }
    };
    let messages = keys.chunks(MOST_KEYS).map(message).collect();
    let replies = ask(config, "dormouse command", messages, waits).await?;
    let told = keys.chunks(MOST_KEYS).zip(replies).flat_map(|(keys, reply)| told(keys, reply));
    let told: Vec<_> = told.collect();
    let missing = match waits {
        _ if told.len() == keys.len() => Missing::None,
        false => Missing::NotAwaited,
        true => Missing::Silent(silence(config)),
    };
    Ok(Commanded { keys: keys.len(), told, missing })
}

/// What was told of these keys: nothing without a reply. A command that was refused as a whole is so for each.
pub(super) fn told(keys: &[Key], reply: Option<Reply>) -> Vec<Told> {
    match reply {
        None => Vec::new(),
        Some(Reply::Results(told)) => told,
        Some(Reply::Refused(reason)) => {
            let refused = |key: &Key| Told {
                key: key.to_string(),
                outcome: Outcome::Refused(reason.clone()),
            };
            keys.iter().map(refused).collect()
        }
    }
}

pub(super) fn silence(config: &Config) -> String {
    format!(
        "RabbitMQ has confirmed it, so it will hold; but no answer came within {}: is a worker running, with \
         commands.enabled?",
        durations::duration(config.delivery.confirm_timeout)
    )
}

impl Commanded {
    /// Whether some keys are as they were, or may have been delivered, or that is not known of all.
    pub fn has_failed(&self) -> bool {
        matches!(self.missing, Missing::Silent(_)) || self.told.iter().any(is_refused_or_too_late)
    }

    /// What programs get.
    pub fn document(&self) -> Json {
        json!({ "keys": self.keys, "results": self.told })
    }
}

/// Whether the command came to nothing for this key, or perhaps too late.
pub fn is_refused_or_too_late(told: &Told) -> bool {
    match told.outcome {
        Outcome::Refused(_) | Outcome::TooLate => true,
        // it was not found, or nobody knows
        Outcome::Running | Outcome::NotFound | Outcome::TooDeep => true,
        Outcome::Cancelled | Outcome::Noted | Outcome::Unknown | Outcome::Kept => false,
        Outcome::Replaced | Outcome::Scheduled | Outcome::Moved => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_refused_in_words_before_anything_is_sent() {
        let many = |keys| Keys::checked(&vec!["k".to_owned(); keys]).map(|Keys(keys)| keys.len());
        assert_eq!(many(1), Ok(1));
        assert_eq!(many(10_000), Ok(10_000));
        assert_eq!(many(0), Err(KeysError::None));
        let refused = many(10_001).unwrap_err().to_string();
        assert_eq!(
            refused,
            "there are 10,001 keys, and 10,000 is the most at once: give them in several calls"
        );
        let refused = Keys::checked(&["a".into(), String::new()]).unwrap_err().to_string();
        assert_eq!(refused, "key \"\": the key is empty: give it 1 to 255 bytes");
    }
}
