//! Leaves notes of what a session keeps, for `dormouse status`: when something changes, and again before the
//! last one expires.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::kept::KeptNote;
use super::shared::Shared;
use super::tell::Tell;
use crate::amqp::{AmqpError, Connection, notes};
use crate::config::Config;
use crate::topology::Names;

/// How often something may have changed.
const LOOK: Duration = Duration::from_secs(1);
/// A note is renewed so often, and lasts longer than that.
const AGAIN: Duration = Duration::from_secs(10);
const LASTS: Duration = Duration::from_secs(25);

/// Whether a note is to be left of `messages`; `told` says how many the last one was of, and how long ago.
fn is_due(messages: usize, told: Option<(usize, Duration)>) -> bool {
    match told {
        None | Some((0, _)) => messages > 0,
        Some((told, _)) if told != messages => true,
        Some((_, ago)) => ago >= AGAIN,
    }
}

/// Runs until `stop`. It never ends a session: what goes wrong is logged.
pub(super) async fn run(shared: &Shared, publishing: &Connection, stop: &CancellationToken) {
    let worker = Uuid::now_v7().to_string();
    let mut told: Option<(usize, Instant)> = None;
    let mut told_of_trouble = Tell::default();
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => stopping = true,
        }
        let mut note = shared.kept().note(&worker);
        if stopping {
            // it goes back to its queue
            (note.messages, note.named) = (0, Vec::new());
        }
        let last = told.map(|(messages, at)| (messages, at.elapsed()));
        if publishing.is_blocked() || !is_due(note.messages, last) {
            continue;
        }
        match leave(&shared.config, &note).await {
            Ok(()) => {}
            Err(AmqpError::Closed { code: 403, text }) => {
                info!(
                    name: "kept-not-noted-forbidden",
                    text,
                    "`dormouse status` does not see what is kept: it needs more permissions"
                );
                return stop.cancelled().await;
            }
            Err(error) => {
                if let Some(times) = told_of_trouble.due() {
                    warn!(name: "kept-not-noted", times, %error, "what is kept could not be noted for `dormouse status`");
                }
            }
        }
        told = Some((note.messages, Instant::now()));
    }
}

/// On a connection of its own: neither a refusal nor an alarm nor a limit of channels is to disturb others.
async fn leave(config: &Config, note: &KeptNote) -> Result<(), AmqpError> {
    let body = serde_json::to_vec(note).map_err(|error| AmqpError::Lost(error.to_string()))?;
    let left = async {
        let connection = Connection::open(&config.broker, "dormouse kept").await?;
        let left = notes::leave(&connection, &Names::of(config).kept(), body, LASTS).await;
        connection.close().await;
        left
    };
    let end = tokio::time::timeout(config.broker.connect_timeout, left).await;
    end.unwrap_or_else(|_| Err(AmqpError::Lost("the broker did not answer in time".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_left_when_something_changes_and_before_the_last_one_is_gone() {
        let second = Duration::from_secs(1);
        assert!(!is_due(0, None), "nothing is kept");
        assert!(is_due(1, None));
        assert!(!is_due(1, Some((1, second))));
        assert!(is_due(2, Some((1, second))));
        assert!(is_due(1, Some((1, AGAIN))));
        assert!(is_due(0, Some((1, second))), "no more");
        assert!(!is_due(0, Some((0, AGAIN))));
        assert!(AGAIN + 2 * LOOK < LASTS);
    }
}
