//! `dormouse topology apply`: creates what is missing.

use serde_json::json;

use super::look;
use super::plan::{self, Plan, amount, created_json, say};
use crate::amqp::Connection;
use crate::amqp::declare::{DeclareError, declare_alone};
use crate::cli::table::{print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::topology::Names;

pub async fn run(config: &Config, output: Output) -> Result<Exit, Failure> {
    let plan = Plan::look(config).await?;
    let connection = Connection::open(&config.broker, "dormouse topology").await?;
    let lock = Names::of(config).declaring();
    let declared = declare_alone(&connection, &plan.wanted, &lock).await;
    connection.close().await;
    if let Err(error) = declared {
        // the broker names the first that it refused; here are all of them
        if matches!(error, DeclareError::Different { .. }) && !plan.diff.different.is_empty() {
            eprintln!("{}\n", plan::refused(&plan.diff.different));
        }
        return Err(error.into());
    }
    match output {
        Output::Table => show(config, &plan)?,
        Output::Json => print_json(&json!({
            "vhost": look::vhost(config),
            "created": created_json(&plan.diff.missing),
        }))?,
    }
    Ok(Exit::Done)
}

fn show(config: &Config, plan: &Plan) -> Result<(), Failure> {
    print(format!("{}\n", plan::heading(config)))?;
    let (all, missing) = (amount(&plan.wanted), &plan.diff.missing);
    if missing.is_empty() {
        say(&format!("Nothing to create: {all} stand as they should."))?;
    } else {
        let rest = if *missing == plan.wanted { "" } else { " The rest stood as it should." };
        say(&format!("Created {}.{rest}", amount(missing)))?;
    }
    if plan.blind.is_some() {
        say(
            "Bindings are made, too; how many were missing is not seen without the management API.",
        )?;
    }
    plan.print_leftovers(config)?;
    say("Policies can still change what they do: `dormouse topology verify`")
}
