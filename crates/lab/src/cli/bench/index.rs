//! The profile `index`: what the bench tells of it.

use dormouse::cli::table::{Table, facts, left, right};
use dormouse::cli::{Exit, Failure, Output};
use dormouse::config::Config;
use dormouse::operate::number;

use super::hired::{Hired, ended, new_name};
use crate::bench::{Environment, Indexed, IndexedError, Timed};

/// In a virtual host without a worker: the bench writes the ledger.
pub async fn run(
    config: &Config,
    hired: &Hired,
    pending: u64,
    output: Output,
) -> Result<Exit, Failure> {
    let name = new_name();
    let mut config = config.clone();
    config.ledger.enabled = true;
    let environment = Environment::own(&config, &name, &hired.program, &[]).await?;
    let directory = std::env::temp_dir().join(&name);
    std::fs::create_dir_all(&directory)?;
    let indexed =
        crate::bench::index(&environment.config, &hired.program, &directory, pending).await;
    // what is left there is in nobody's way
    let _ = std::fs::remove_dir_all(&directory);
    ended(environment, indexed.map_err(Failure::from), |indexed| {
        tell(&indexed, output)?;
        Ok(Exit::Done)
    })
    .await
}

fn tell(indexed: &Indexed, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => dormouse::cli::table::print_json(indexed),
        Output::Table => dormouse::cli::table::print(screen(indexed)),
    }
}

fn screen(indexed: &Indexed) -> String {
    let Indexed { pending, rebuild_seconds, lived, lives_seconds, .. } = indexed;
    let whole = |number_of: f64| number(number_of.round() as u64);
    let about = facts(&[
        (
            "pending",
            format!("{}, read into an empty file in {rebuild_seconds:.1} s", number(*pending)),
        ),
        (
            "lives",
            format!(
                "{} scheduled and delivered in {lives_seconds:.1} s: {} events/s",
                number(*lived),
                whole(indexed.events_per_second)
            ),
        ),
        (
            "stream",
            format!("{} bytes a message that sleeps", whole(indexed.stream_bytes_per_message)),
        ),
        (
            "file",
            format!("{} bytes a message, with its history", whole(indexed.file_bytes_per_message)),
        ),
    ]);
    let mut table = Table::new([left("question"), right("median"), right("longest")]);
    for Timed { question, median_ms, max_ms } in &indexed.pages {
        table.row([
            (*question).to_owned(),
            format!("{median_ms:.1} ms"),
            format!("{max_ms:.1} ms"),
        ]);
    }
    format!("{about}\n\n{table}")
}

impl From<IndexedError> for Failure {
    fn from(error: IndexedError) -> Self {
        match error {
            IndexedError::Amqp(error) => error.into(),
            IndexedError::Declare(error) => error.into(),
            IndexedError::Index(error) => error.into(),
            IndexedError::Ask(error) => error.into(),
            error @ (IndexedError::Process(_)
            | IndexedError::Refused(_)
            | IndexedError::Slow(_)) => Self::failed(error.to_string()),
        }
    }
}
