//! The profile `webhooks`: what the bench tells of it.

use dormouse::cli::table::{Table, facts, left, right};
use dormouse::cli::{Exit, Failure, Output};
use dormouse::config::Config;
use dormouse::operate::number;

use super::arguments::How;
use super::hired::{Hired, ended, new_name};
use crate::bench::{Environment, GOOD, Receivers, Webhooked};

/// With a worker that sends webhooks, too: so many at one moment, then so many a second for `how.duration`.
pub async fn run(
    config: &Config,
    hired: Hired,
    (messages, per_second): (u64, f64),
    how: &How,
    output: Output,
) -> Result<Exit, Failure> {
    let name = new_name();
    let file = std::env::temp_dir().join(format!("{name}.toml"));
    let receivers = Receivers::start().await?;
    receivers.write(&file)?;
    let hired = hired.with("worker,webhooks", format!("webhooks.file={}", file.display()));
    let told = async {
        let workers = [hired.arguments.as_slice()];
        let environment = Environment::own(config, &name, &hired.program, &workers).await?;
        let webhooked =
            crate::bench::webhooks(&environment, &receivers, messages, per_second, how.duration);
        let webhooked = webhooked.await;
        ended(environment, webhooked.map_err(Failure::from), |webhooked| {
            tell(&webhooked, output)?;
            Ok(if is_good(&webhooked) { Exit::Done } else { Exit::Differs })
        })
        .await
    };
    let told = told.await;
    let _ = std::fs::remove_file(&file);
    told
}

fn tell(webhooked: &Webhooked, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => dormouse::cli::table::print_json(webhooked),
        Output::Table => dormouse::cli::table::print(screen(webhooked)),
    }
}

/// Whether nothing was early, twice or missing.
fn is_good(webhooked: &Webhooked) -> bool {
    let Webhooked { burst, alone, beside_one_that_hangs: beside } = webhooked;
    [&burst.came, alone, beside].iter().all(|came| came.is_good())
}

fn screen(webhooked: &Webhooked) -> String {
    let Webhooked { burst, alone, beside_one_that_hangs: beside } = webhooked;
    let about = facts(&[
        (
            "burst",
            format!(
                "{} due at one moment, to one receiver: {:.2} s, {} webhooks/s",
                number(burst.came.messages),
                burst.seconds,
                number(burst.per_second.round() as u64)
            ),
        ),
        (
            "wrong",
            format!(
                "{} early, {} twice, {} missing",
                burst.came.early, burst.came.twice, burst.came.missing
            ),
        ),
    ]);
    let heads = ["steady", "webhooks", "p50", "p99", "max", "early", "twice", "missing"];
    let mut table =
        Table::new(heads.map(|head| if head == "steady" { left(head) } else { right(head) }));
    let alone = (format!("{GOOD} that answer"), alone);
    let beside = ("the same, beside one that hangs".to_owned(), beside);
    for (what, told) in [alone, beside] {
        let late = &told.lateness_ms;
        table.row([
            what,
            number(told.messages),
            format!("{:.1} ms", late.p50),
            format!("{:.1} ms", late.p99),
            format!("{:.1} ms", late.max),
            number(told.early),
            number(told.twice),
            number(told.missing),
        ]);
    }
    format!("{about}\n\n{table}")
}
