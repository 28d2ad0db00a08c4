//! The profile `outbox`: what the bench tells of it.

use dormouse::cli::table::{Table, left, print, print_json, right};
use dormouse::cli::{Exit, Failure, Output};
use dormouse::config::Config;
use dormouse::operate::number;

use super::hired::{Hired, ended, new_name};
use crate::bench::{Environment, OutboxBenchError, OutboxRun, Rows};

/// In a virtual host without a worker: rows go straight to a queue.
pub async fn run(
    config: &Config,
    hired: &Hired,
    database: &str,
    rows: (u64, u64),
    output: Output,
) -> Result<Exit, Failure> {
    let environment = Environment::own(config, &new_name(), &hired.program, &[]).await?;
    let (config, target) = (environment.config.clone(), environment.target.clone());
    let told = crate::bench::outbox(&config, database, rows, &target).await;
    ended(environment, told.map_err(Failure::from), |runs| {
        match output {
            Output::Json => print_json(&runs)?,
            Output::Table => print(table(&runs))?,
        }
        Ok(Exit::Done)
    })
    .await
}

fn table(runs: &[OutboxRun]) -> Table {
    let mut table = Table::new([left("rows"), right("count"), right("seconds"), right("rows/s")]);
    for OutboxRun { rows, count, seconds, per_second } in runs {
        let what = match rows {
            Rows::Free => "without order",
            Rows::OfManyKeys => "of 1,000 keys",
            Rows::OfOneKey => "of one key",
        };
        table.row([
            what.to_owned(),
            number(*count),
            format!("{seconds:.2}"),
            number(per_second.round() as u64),
        ]);
    }
    table
}

impl From<OutboxBenchError> for Failure {
    fn from(error: OutboxBenchError) -> Self {
        match error {
            OutboxBenchError::Address => Self::usage(error.to_string()),
            error => Self::failed(error.to_string()),
        }
    }
}
