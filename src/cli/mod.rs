//! `dormouse NOUN VERB`: tables for people, `-o json` for programs, exit codes as a contract.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod command;
mod completions;
mod config;
mod dlq;
mod doctor;
mod exit;
mod explain;
#[cfg(feature = "index")]
mod index;
mod log;
mod man;
mod migrate;
mod named;
mod options;
#[cfg(feature = "outbox")]
mod outbox;
pub mod paragraph;
mod publish;
mod retry;
mod run;
mod schedule;
mod start;
mod status;
pub mod table;
mod token;
mod topology;
mod transfer;

pub use exit::{CODES, Exit, Failure};
pub use options::{Options, Output};
pub use run::{log, stop_on_signal};
pub use start::{STACK_BYTES, start};

/// Delayed delivery for RabbitMQ.
#[derive(Debug, Parser)]
#[command(name = "dormouse", version, max_term_width = 80, after_help = CODES)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a worker, the HTTP API, or both, until SIGTERM or Ctrl-C.
    Run(run::Run),
    /// Schedule a message from the shell.
    Publish(publish::Publish),
    /// Cancel what was scheduled with a key.
    Cancel(command::Cancel),
    /// Put off what was scheduled with a key.
    Reschedule(command::Reschedule),
    /// Deliver what was scheduled with a key now, or sooner than it was due.
    RunNow(command::RunNow),
    /// Recurring schedules: apply a file of them, list, preview, pause, run, delete.
    Schedule(schedule::Schedule),
    /// Plan, apply, verify, export, drain or destroy what stands on the broker.
    Topology(topology::Topology),
    /// Come from another way to delay messages: plan, apply, verify.
    Migrate(migrate::Migrate),
    /// Move what sleeps on another broker to this one.
    Transfer(transfer::Transfer),
    /// Show the log of commands, or let messages go that wait for one that is lost.
    Log(log::Log),
    /// Look at what could not be delivered; send it again or delete it.
    Dlq(dlq::Dlq),
    /// Bring rejected messages back to a queue after a pause, or stop doing so.
    Retry(retry::Retry),
    /// Show how much sleeps in each level, and until when at most.
    Status(status::Status),
    /// Look for what could lose, delay, duplicate or hide messages here.
    Doctor(doctor::Doctor),
    /// Show a message, and where it is.
    #[cfg(feature = "index")]
    Find(index::Find),
    /// List messages by state, target, key or due time.
    #[cfg(feature = "index")]
    List(index::List),
    /// Show how much comes when, as a chart.
    #[cfg(feature = "index")]
    Load(index::Load),
    /// Read the ledger into the index until SIGTERM or Ctrl-C; look through the levels.
    #[cfg(feature = "index")]
    Index(index::Index),
    /// Publish the messages that a database holds, each after its transaction.
    #[cfg(feature = "outbox")]
    Outbox(outbox::Outbox),
    /// Show the exact path of a message with a given delay.
    Explain(explain::Explain),
    /// Make tokens for the HTTP API.
    Token(token::Token),
    /// Show or check the configuration.
    Config(config::Configuration),
    /// Print a script that completes commands in a shell.
    Completions(completions::Completions),
    /// Write a man page for each command.
    Man(man::Man),
}

/// Runs the command line and turns its result into an exit code.
pub fn main() -> ExitCode {
    start("dormouse", async || {
        let Cli { mut options, command } = Cli::parse();
        match command {
            Command::Run(run) => {
                options.settings.extend(run.settings());
                run::run(options.load()?).await
            }
            Command::Publish(publish) => publish.run(options.load()?, options.output).await,
            Command::Cancel(cancel) => cancel.run(&options.load()?, options.output).await,
            Command::RunNow(now) => now.run(&options.load()?, options.output).await,
            Command::Reschedule(later) => later.run(&options.load()?, options.output).await,
            Command::Schedule(schedule) => schedule.run(&options.load()?, options.output).await,
            Command::Topology(topology) => topology.run(options.load()?, options.output).await,
            Command::Migrate(migrate) => migrate.run(&options.load()?, options.output).await,
            Command::Transfer(transfer) => transfer.run(&options.load()?, options.output).await,
            Command::Log(log) => log.run(&options.load()?, options.output).await,
            Command::Dlq(dlq) => dlq.run(options.load()?, options.output).await,
            Command::Retry(retry) => retry.run(options.load()?, options.output).await,
            Command::Doctor(doctor) => doctor.run(&options.load()?, options.output).await,
            Command::Status(status) => status.run(options.load()?, options.output).await,
            #[cfg(feature = "index")]
            Command::Find(find) => find.run(&options.load()?, options.output),
            #[cfg(feature = "index")]
            Command::List(list) => list.run(&options.load()?, options.output),
            #[cfg(feature = "index")]
            Command::Load(load) => load.run(&options.load()?, options.output),
            #[cfg(feature = "index")]
            Command::Index(index) => index.run(options.load()?, options.output).await,
            #[cfg(feature = "outbox")]
            Command::Outbox(outbox) => outbox.run(|| options.load(), options.output).await,
            Command::Explain(explain) => explain.run(&options.load()?, options.output),
            Command::Token(token) => token.run(options.output),
            Command::Config(config) => config.run(&options),
            Command::Completions(completions) => completions.run(Cli::command()),
            Command::Man(man) => man.run(Cli::command()),
        }
    })
}
