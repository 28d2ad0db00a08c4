//! `dormouse-lab dev`, `drill`, `bench`, `compare`. The options of every command, the screens and the exit
//! codes are those of `dormouse`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dormouse::cli::{self, Options};

use crate::compare::Compare;

mod bench;
mod dev;
mod drill;

/// Private brokers to try Dormouse on, to break it and to measure it.
#[derive(Debug, Parser)]
#[command(name = "dormouse-lab", version, max_term_width = 80, after_help = cli::CODES)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a private broker and a worker to play with, until Ctrl-C.
    Dev(dev::Dev),
    /// Prove it: break private brokers and workers under load, and check every message.
    Drill(drill::Drills),
    /// Measure what a broker and this configuration can do.
    Bench(bench::Bench),
    /// Measure Dormouse beside other ways to delay a message, on private brokers.
    Compare(Compare),
}

/// Runs the command line and turns its result into an exit code.
pub fn main() -> ExitCode {
    cli::start("dormouse-lab", async || {
        let Cli { options, command } = Cli::parse();
        match command {
            Command::Dev(dev) => dev.run(&options).await,
            Command::Drill(drills) => drills.run(&options).await,
            Command::Bench(bench) => bench.run(&options).await,
            Command::Compare(compare) => compare.run(&options).await,
        }
    })
}
