//! `dormouse topology apply`: creates what is missing.

use super::plan::{self, amount, say};
use crate::cli::table::{print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::apply::{self, Applied, ApplyError};

pub async fn run(config: &Config, output: Output) -> Result<Exit, Failure> {
    let applied = apply::apply(config).await;
    if let Err(ApplyError::Declare { different, .. }) = &applied
        && !different.is_empty()
    {
        eprintln!("{}\n", plan::refused(different));
    }
    match output {
        Output::Table => show(config, &applied?)?,
        Output::Json => print_json(&applied?.document(config))?,
    }
    Ok(Exit::Done)
}

fn show(config: &Config, Applied(plan): &Applied) -> Result<(), Failure> {
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
    plan::show_leftovers(plan, config)?;
    say("Policies can still change what they do: `dormouse topology verify`")
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Plan(error) => error.into(),
            ApplyError::Amqp(error) => error.into(),
            ApplyError::Declare { source, .. } => source.into(),
        }
    }
}
