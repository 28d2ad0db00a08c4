//! `dormouse topology destroy`: deletes everything of ours in the virtual host.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use serde_json::json;

use super::plan::say;
use crate::cli::table::{Table, print_json, right, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::backlog::{Backlog, total};
use crate::operate::destroy::{
    self, DestroyError, DestroyPlan, Destroyed, Ours, Progress, Refusal,
};
use crate::operate::{count, number, vhost_name};

#[derive(Debug, Args)]
pub struct Destroy {
    /// Delete messages that still sleep there, and do not mind workers that run.
    #[arg(long)]
    force: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Destroy {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let plan = match destroy::plan(config, self.force).await {
            Ok(None) => return nothing(config, output),
            Ok(Some(plan)) => plan,
            Err(error) => {
                if let DestroyError::Refused(Refusal::NotEmpty { counted }) = &error {
                    show(counted, output)?;
                }
                return Err(error.into());
            }
        };
        if !self.yes {
            ask(config, &plan)?;
        }
        let mut shown = Ok(());
        let destroyed = destroy::carry_out(plan, |progress| match progress {
            Progress::CameIn(counted) => shown = show(counted, output),
            Progress::Restored => eprintln!(
                "messages came in while the exchanges that clients publish to were gone; they are back, as they were"
            ),
        });
        let destroyed = destroyed.await;
        shown?;
        report(&destroyed?, output)
    }
}

fn amount(ours: &Ours) -> String {
    let exchanges = (ours.doors.len() + ours.exchanges.len()) as u64;
    let queues = count(ours.queues.len() as u64, "queue");
    format!("{queues} and {}", count(exchanges, "exchange"))
}

fn ask(config: &Config, plan: &DestroyPlan) -> Result<(), Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::usage(
            "this deletes the topology; say --yes to do so without being asked",
        ));
    }
    let vhost = vhost_name(config);
    let messages = count(total(&plan.counted), "message");
    let amount = amount(&plan.ours);
    eprintln!("This deletes {amount} in virtual host {vhost:?}, with {messages} in them.");
    if let Some(logged) = plan.logged {
        eprintln!("{}", of_log(logged));
    }
    if let Some(batches) = plan.in_ledger {
        eprintln!("{}", of_ledger(batches));
    }
    eprint!("Type the name of the virtual host to go on: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    if answer.trim() == vhost {
        Ok(())
    } else {
        Err(Failure::new(Exit::Refused, "not confirmed; nothing is deleted"))
    }
}

fn nothing(config: &Config, output: Output) -> Result<Exit, Failure> {
    match output {
        Output::Table => {
            let vhost = vhost_name(config);
            say(&format!("Nothing to delete: nothing of ours stands in virtual host {vhost:?}."))?;
        }
        Output::Json => print_json(&json!({ "deleted": Vec::<()>::new(), "messages_lost": 0 }))?,
    }
    Ok(Exit::Done)
}

/// What is in the log is of workers, but for what it knows of the keys of clients.
fn of_log(logged: u64) -> String {
    format!(
        "The log of commands goes too, with {} of what was cancelled.",
        count(logged, "message")
    )
}

fn of_ledger(batches: u64) -> String {
    format!("The ledger goes too, with {} of what happened.", count(batches, "message"))
}

fn report(
    Destroyed { ours, lost, logged, in_ledger }: &Destroyed,
    output: Output,
) -> Result<Exit, Failure> {
    match output {
        Output::Table => {
            say(&format!("Deleted {}, with {} in them.", amount(ours), count(*lost, "message")))?;
            if let Some(logged) = logged {
                say(&of_log(*logged))?;
            }
            if let Some(batches) = in_ledger {
                say(&of_ledger(*batches))?;
            }
            say(
                "Publishers to the delay exchanges now get 404; a worker that starts builds all anew.",
            )?;
        }
        Output::Json => {
            let Ours { doors, exchanges, queues } = ours;
            let deleted: Vec<_> = doors.iter().chain(exchanges).chain(queues).collect();
            let mut document = json!({ "deleted": deleted, "messages_lost": lost });
            if let Some(logged) = logged {
                document["messages_in_log"] = json!(logged);
            }
            if let Some(batches) = in_ledger {
                document["messages_in_ledger"] = json!(batches);
            }
            print_json(&document)?;
        }
    }
    Ok(Exit::Done)
}

/// Where messages are: for people on standard error, since the answer is a refusal.
fn show(backlogs: &[Backlog], output: Output) -> Result<(), Failure> {
    let not_empty: Vec<_> = backlogs.iter().filter(|backlog| !backlog.is_empty()).collect();
    if output == Output::Json {
        return print_json(&json!({ "not_empty": not_empty }));
    }
    let columns = [wide("queue"), right("ready"), right("unacked"), right("dead-letter backlog")];
    let mut table = Table::new(columns);
    let shown = |counter: Option<u64>| counter.map_or_else(|| "?".to_owned(), number);
    for backlog in not_empty.iter().filter(|backlog| backlog.messages() > 0) {
        let Backlog { queue, ready, unacked, dead_letter_backlog, .. } = backlog;
        let [ready, unacked, dead] = [*ready, *unacked, *dead_letter_backlog].map(shown);
        table.row([queue.clone(), ready, unacked, dead]);
    }
    if !table.is_empty() {
        eprintln!("{table}\n");
    }
    Ok(())
}

impl From<DestroyError> for Failure {
    fn from(error: DestroyError) -> Self {
        match error {
            DestroyError::Management(error) => error.into(),
            DestroyError::Amqp(error) => error.into(),
            DestroyError::Declare(error) => error.into(),
            DestroyError::Refused(refusal) => {
                Self::new(Exit::Refused, format!("{refusal}, or say --force"))
            }
        }
    }
}
