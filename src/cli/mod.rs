//! `dormouse NOUN VERB`: tables for people, `-o json` for programs, exit codes as a contract.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod completions;
mod config;
mod dlq;
mod exit;
mod explain;
mod options;
mod paragraph;
mod publish;
mod retry;
mod run;
mod start;
mod status;
pub mod table;
mod topology;

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
    /// Run a worker until SIGTERM or Ctrl-C.
    Run,
    /// Schedule a message from the shell.
    Publish(publish::Publish),
    /// Plan, apply, verify, export, drain or destroy what stands on the broker.
    Topology(topology::Topology),
    /// Look at what could not be delivered; send it again or delete it.
    Dlq(dlq::Dlq),
    /// Bring rejected messages back to a queue after a pause, or stop doing so.
    Retry(retry::Retry),
    /// Show how much sleeps in each level, and until when at most.
    Status(status::Status),
    /// Show the exact path of a message with a given delay.
    Explain(explain::Explain),
    /// Show or check the configuration.
    Config(config::Configuration),
    /// Print a script that completes commands in a shell.
    Completions(completions::Completions),
}

/// Runs the command line and turns its result into an exit code.
pub fn main() -> ExitCode {
    start("dormouse", async || {
        let Cli { options, command } = Cli::parse();
        match command {
            Command::Run => run::run(options.load()?).await,
            Command::Publish(publish) => publish.run(options.load()?, options.output).await,
            Command::Topology(topology) => topology.run(options.load()?, options.output).await,
            Command::Dlq(dlq) => dlq.run(options.load()?, options.output).await,
            Command::Retry(retry) => retry.run(options.load()?, options.output).await,
            Command::Status(status) => status.run(options.load()?, options.output).await,
            Command::Explain(explain) => explain.run(&options.load()?, options.output),
            Command::Config(config) => config.run(&options),
            Command::Completions(completions) => completions.run(Cli::command()),
        }
    })
}
