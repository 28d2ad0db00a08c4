//! `dormouse schedule apply`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::table::{Table, left, print, print_json, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::count;
use crate::operate::schedules::{Applied, Change, Plan, apply, open, plan, read};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Apply {
    /// TOML, with a table [[schedule]] for each.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show what would be done, and do nothing. Exits with 3 if something would be.
    #[arg(long)]
    dry_run: bool,
    /// Delete the schedules that the file does not have.
    #[arg(long)]
    prune: bool,
}

const HELP: &str = "\
A schedule that somebody changed since this command has looked is not touched,
and the command exits with 1: run it again. A pause stays. docs/schedules.md
has the fields of a file.";

impl Apply {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let name = self.file.display();
        let text = std::fs::read_to_string(&self.file);
        let text = text.map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        let file = read(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        let (client, schedules) = open(config).await?;
        let stand = schedules.list().await?;
        let plan = plan(&file, &stand.schedules, self.prune);
        if self.dry_run {
            client.close().await;
            show(&plan, output)?;
            return Ok(if plan.is_empty() { Exit::Done } else { Exit::Differs });
        }
        let applied = apply(&schedules, &file, plan).await;
        drop(schedules);
        client.close().await;
        report(&applied, output)
    }
}

fn show(plan: &Plan, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print_json(&plan.document());
    }
    if plan.steps.is_empty() {
        return print("There is no schedule, neither here nor there.");
    }
    let mut table =
        Table::new([left("change"), wide("schedule"), left("field"), wide("stands"), wide("file")]);
    for step in &plan.steps {
        let change = step.change.as_str().to_owned();
        let nothing = String::new;
        match &step.change {
            Change::Change(fields) => {
                for (field, stands, wanted) in fields {
                    let name = step.name.clone();
                    table.row([
                        change.clone(),
                        name,
                        field.clone(),
                        stands.clone(),
                        wanted.clone(),
                    ]);
                }
            }
            _ => table.row([change, step.name.clone(), nothing(), nothing(), nothing()]),
        }
    }
    print(&table)
}

fn report(applied: &[Applied], output: Output) -> Result<Exit, Failure> {
    let failed = applied.iter().filter(|it| matches!(it.outcome, Some(Err(_)))).count();
    let exit = if failed > 0 { Exit::Failed } else { Exit::Done };
    if output == Output::Json {
        let steps: Vec<_> = applied.iter().map(Applied::document).collect();
        print_json(&serde_json::json!({ "steps": steps }))?;
        return Ok(exit);
    }
    let mut table = Table::new([left("outcome"), wide("schedule"), wide("why")]);
    for Applied { step, outcome } in applied {
        let name = step.name.clone();
        match outcome {
            None => {}
            Some(Ok(outcome)) => table.row([(*outcome).to_owned(), name, String::new()]),
            Some(Err(error)) => table.row(["failed".to_owned(), name, error.to_string()]),
        }
    }
    if !table.is_empty() {
        print(format!("{table}\n"))?;
    }
    let done = applied.iter().filter(|it| matches!(it.outcome, Some(Ok(_)))).count() as u64;
    let kept = applied.iter().filter(|it| it.step.change == Change::Keep).count() as u64;
    let mut said = format!("{} changed.", count(done, "schedule"));
    if kept > 0 {
        said += &format!(" {} not in the file: --prune deletes them.", count(kept, "schedule"));
    }
    for Applied { step, outcome } in applied {
        if let Some(Err(error)) = outcome {
            said += &format!("\n{}: {error}", step.name);
        }
    }
    print(said)?;
    Ok(exit)
}
