//! The profile `http`: what the bench tells of it.

use std::net::{Ipv4Addr, TcpListener};

use dormouse::cli::table::{Table, facts, left, right};
use dormouse::cli::{Exit, Failure, Output};
use dormouse::config::Config;
use dormouse::operate::number;

use super::arguments::How;
use super::hired::{Hired, ended, new_name};
use crate::bench::{Environment, OverHttp, OverHttpError, over_http};

/// With a worker that has the API, too.
pub async fn run(
    config: &Config,
    hired: Hired,
    how: &How,
    output: Output,
) -> Result<Exit, Failure> {
    // free now, and the API's in a moment
    let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let hired = hired.with("worker,api", format!("api.listen={api}"));
    let workers = [hired.arguments.as_slice()];
    let environment = Environment::own(config, &new_name(), &hired.program, &workers).await?;
    let measured = over_http(&environment, api, how.duration).await;
    ended(environment, measured.map_err(Failure::from), |measured| {
        tell(&measured, output)?;
        Ok(if is_good(&measured) { Exit::Done } else { Exit::Differs })
    })
    .await
}

fn tell(measured: &OverHttp, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => dormouse::cli::table::print_json(measured),
        Output::Table => dormouse::cli::table::print(screen(measured)),
    }
}

/// Whether nothing was refused, early or missing.
fn is_good(measured: &OverHttp) -> bool {
    let refused: u64 = measured.rows.iter().map(|row| row.refused).sum();
    refused + measured.due.early + measured.due.missing == 0
}

fn screen(measured: &OverHttp) -> String {
    let mut table = Table::new([
        left("by"),
        right("callers"),
        right("each call"),
        right("messages/s"),
        right("p50"),
        right("p99"),
        right("refused"),
    ]);
    for row in &measured.rows {
        table.row([
            row.how.to_owned(),
            number(row.callers as u64),
            number(row.messages_a_call as u64),
            number(row.per_second.round() as u64),
            format!("{:.1} ms", row.answer_ms.p50),
            format!("{:.1} ms", row.answer_ms.p99),
            number(row.refused),
        ]);
    }
    let due = &measured.due;
    let out = format!(
        "{} due within one second, out {:.2} s after the first was due; {} early, {} missing",
        number(due.messages),
        due.seconds,
        due.early,
        due.missing
    );
    format!("{table}\n\n{}", facts(&[("burst", out)]))
}

impl From<OverHttpError> for Failure {
    fn from(error: OverHttpError) -> Self {
        match error {
            OverHttpError::Amqp(error) => error.into(),
            error @ (OverHttpError::Client(_)
            | OverHttpError::Api(_)
            | OverHttpError::Management(_)
            | OverHttpError::Http(_)
            | OverHttpError::Refused { .. }) => Self::new(Exit::Failed, error.to_string()),
        }
    }
}
