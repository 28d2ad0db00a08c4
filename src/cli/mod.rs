//! `dormouse NOUN VERB`: tables for people, `-o json` for programs, exit codes as a contract.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, Sources};

mod completions;
mod config;
mod dlq;
mod exit;
mod explain;
mod publish;
mod retry;
mod run;
mod start;
mod status;
pub mod table;
mod topology;

pub use exit::{CODES, Exit, Failure};
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

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Options {
    /// Configuration file (TOML).
    #[arg(
        long,
        short,
        global = true,
        env = "DORMOUSE_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// The broker, or the nodes of a cluster: amqp[s]://user:password@host:port/vhost[,…].
    #[arg(long, global = true, value_name = "URI")]
    uri: Option<String>,
    /// The management API; by default guessed from the AMQP address.
    #[arg(long, global = true, value_name = "URI")]
    management_uri: Option<String>,
    /// Sets any configuration key, such as topology.unit=5s. May be repeated.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// How to print results.
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
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
            Command::Completions(completions) => completions.run(),
        }
    })
}

impl Options {
    /// Defaults, file, environment and flags as one checked configuration.
    pub fn load(&self) -> Result<Config, Failure> {
        crate::config::load(self.sources()?).map_err(|faults| Failure::usage(faults.to_string()))
    }

    /// The same options for another process of ours, but for the broker.
    pub fn arguments(&self) -> Vec<String> {
        let file = self.config.iter().map(|file| file.display().to_string());
        let file = file.flat_map(|file| ["--config".to_owned(), file]);
        let settings = self.settings.iter().cloned();
        file.chain(settings.flat_map(|setting| ["--set".to_owned(), setting])).collect()
    }

    fn sources(&self) -> Result<Sources, Failure> {
        let mut overrides = Vec::new();
        for setting in &self.settings {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--set {setting}: write it as KEY=VALUE")))?;
            overrides.push((key.to_owned(), value.to_owned()));
        }
        overrides.extend(self.uri.iter().map(|uri| ("broker.uri".to_owned(), uri.clone())));
        overrides.extend(
            self.management_uri.iter().map(|uri| ("broker.management_uri".to_owned(), uri.clone())),
        );
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Sources { file: self.config.clone(), environment, overrides })
    }
}
