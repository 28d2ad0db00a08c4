//! `dormouse migrate`: from another way to delay messages to this one.

use clap::{Args, Subcommand};
use serde_json::json;

use super::paragraph::fold;
use super::run::stop_on_signal;
use super::table::{print, print_json};
use super::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::migrate::{self, Applied, MigrateError, Origin, Plan, State};
use crate::operate::{count, number};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Migrate {
    #[command(subcommand)]
    from: From_,
}

#[derive(Debug, Subcommand)]
enum From_ {
    /// From the delayed-message-exchange plugin.
    Plugin(How),
    /// From Celery's native delayed delivery.
    Celery(How),
    /// From the delay queues of NServiceBus.
    #[command(name = "nservicebus")]
    NServiceBus(How),
    /// From a queue with a TTL and a dead-letter exchange.
    #[command(name = "ttl-queue")]
    TtlQueue {
        /// The queue.
        queue: String,
        /// Move what has the property timestamp: it is due a TTL after it, by its publisher's clock.
        #[arg(long)]
        by_timestamp: bool,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Clone, Copy, Args)]
#[group(multiple = false)]
struct How {
    /// Show what is to be so, and how far it is (the default).
    #[arg(long)]
    plan: bool,
    /// Do what can be done from here. Again, it goes on.
    #[arg(long)]
    apply: bool,
    /// The same as --plan, with exit code 3 if something is not done.
    #[arg(long)]
    verify: bool,
}

const HELP: &str = "\
Nothing ever comes early: what does not tell when it is due stays where it is
until it comes by itself, and publishers go over to Dormouse meanwhile. What
nobody but you can do or see is said. docs/moving-in.md";

impl Migrate {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (origin, how) = match self.from {
            From_::Plugin(how) => (Origin::Plugin, how),
            From_::Celery(how) => (Origin::Celery, how),
            From_::NServiceBus(how) => (Origin::NServiceBus, how),
            From_::TtlQueue { queue, by_timestamp, how } => {
                (Origin::TtlQueue { queue, by_timestamp }, how)
            }
        };
        let plan = migrate::plan(config, &origin).await?;
        if how.apply {
            let stop = stop_on_signal()?;
            let applied = migrate::apply(config, &origin, plan, &stop).await?;
            tell(&applied, output)?;
            return Ok(Exit::Done);
        }
        show(&plan, output)?;
        let is_done = plan.steps.iter().all(|step| step.state == State::Done);
        Ok(if how.verify && !is_done { Exit::Differs } else { Exit::Done })
    }
}

fn show(plan: &Plan, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print_json(&json!({ "steps": plan.steps }));
    }
    if plan.steps.is_empty() {
        return print("Nothing of it stands in this virtual host.");
    }
    for step in &plan.steps {
        let (mark, more) = match &step.state {
            State::Done => ("done", String::new()),
            State::ToDo => ("to do", String::new()),
            State::Waits(messages) => ("waits", format!(": {} there", count(*messages, "message"))),
            State::Unknown => ("waits", ": RabbitMQ has not counted yet".to_owned()),
            State::Yours(what) => ("yours", format!(": {what}")),
        };
        print(fold(&format!("{mark:>5}  {}{more}", step.what), 7))?;
    }
    Ok(())
}

fn tell(applied: &Applied, output: Output) -> Result<(), Failure> {
    let Applied { declared, moved, stayed } = applied;
    if output == Output::Json {
        return print_json(&json!({ "declared": declared, "moved": moved, "stayed": stayed }));
    }
    print(format!(
        "{} declared, {} moved.",
        count(*declared as u64, "exchange or binding"),
        count(*moved, "message")
    ))?;
    for (why, messages) in stayed {
        print(fold(&format!("{} stay: {why}", number(*messages)), 2))?;
    }
    Ok(())
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        let exit = match error {
            MigrateError::Management(error) => return error.into(),
            MigrateError::Amqp(error)
            | MigrateError::Mover(crate::worker::mover::MoverError::Amqp(error)) => {
                return error.into();
            }
            MigrateError::Declare(error) => return error.into(),
            MigrateError::Mover(_) | MigrateError::Incomplete => Exit::Differs,
            MigrateError::NoTtlQueue(_) => Exit::Usage,
        };
        Self::new(exit, error.to_string())
    }
}
