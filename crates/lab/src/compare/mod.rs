//! The comparison: Dormouse beside other ways to delay a message, on private brokers. `make bench`.
//!
//! Durations are divided by 1,000 where a part says "scaled": every subject gets delays of 1 to 4,095
//! ms, the binary cascades a unit of 1 ms for their second, Dormouse a thousandth of its default unit.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use dormouse::cli::{Exit, Failure, Options};
use dormouse::config::Uri;

use self::conditions::Bench;
use self::results::{BrokerResults, Results};
use crate::bench::load_average;
use crate::dev::{Installation, Node, NodeOptions, WorkerProcess};

mod backlog;
mod bars;
mod burst;
mod celery;
mod conditions;
mod entrants;
mod flood;
mod memory;
mod paper;
mod plot;
mod profile;
mod relay;
mod results;
mod steady;

#[derive(Debug, Args)]
#[command(after_help = "What --set changes is Dormouse's configuration before it is scaled.")]
pub struct Compare {
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    only: Vec<Part>,
    /// Root folders of RabbitMQ installations; / is this machine's.
    #[arg(long, value_delimiter = ',', default_value = "/")]
    brokers: Vec<PathBuf>,
    /// Rounds of each contestant; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a window in seconds.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Messages that sleep in the part backlog.
    #[arg(long, default_value_t = 1_000_000)]
    pending: u64,
    /// Contestants of the part max, by part of their name; all by default.
    #[arg(long = "contestants", value_name = "CONTESTANTS", value_delimiter = ',')]
    subjects: Vec<String>,
    /// Where the table, the plot and the figures go.
    #[arg(long, default_value = "bench")]
    into: PathBuf,
    /// Where the brokers' files go: on which disk, or in memory.
    #[arg(long, default_value = ".dormouse/bench")]
    directory: PathBuf,
    #[command(subcommand)]
    relay: Option<Relay>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Max,
    Steady,
    Burst,
    Backlog,
    Memory,
    Profile,
}

impl Part {
    const ALL: [Part; 6] =
        [Part::Max, Part::Steady, Part::Burst, Part::Backlog, Part::Memory, Part::Profile];
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no part is skipped").get_name())
    }
}

#[derive(Debug, clap::Subcommand)]
enum Relay {
    /// Used by the comparison itself.
    #[command(hide = true)]
    Relay { uri: String, from: String, to: String },
}

impl Compare {
    pub async fn run(self, options: &Options) -> Result<Exit, Failure> {
        match self.measure(&options.settings).await {
            Ok(()) => Ok(Exit::Done),
            Err(error) => Err(Failure::failed(format!("{error:#}"))),
        }
    }

    async fn measure(&self, settings: &[String]) -> anyhow::Result<()> {
        if let Some(Relay::Relay { uri, from, to }) = &self.relay {
            return relay::run(uri, from, to).await;
        }
        let mut results = Results::new();
        for root in &self.brokers {
            let measured = self.broker(root, settings).await;
            results.brokers.push(measured.with_context(|| root.display().to_string())?);
            // what is measured is kept, whatever becomes of the next broker
            write(&results, &self.into)?;
        }
        println!("{}", paper::markdown(&results));
        println!("Written to {}/.", self.into.display());
        Ok(())
    }

    async fn broker(&self, root: &Path, settings: &[String]) -> anyhow::Result<BrokerResults> {
        let (worker, own) = (WorkerProcess::program()?, std::env::current_exe()?);
        let installation = Installation::find(Some(root))?;
        let directory = self.directory.join(installation.version());
        // a fresh broker: what an earlier run left would be measured too
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        let load =
            load_average().map_or_else(String::new, |load| format!(", load average {load:.1}"));
        eprintln!("— RabbitMQ {}{load}", installation.version());
        let mut node = Node::start(&installation, NodeOptions::new(&directory)).await?;
        let mut config = entrants::configured(settings)?;
        config.broker.uri = vec![Uri::new(node.amqp_uri())];
        config.broker.management_uri = Some(Uri::new(node.management_uri()));
        let bench = Bench {
            rounds: self.rounds,
            seconds: self.seconds,
            pending: self.pending,
            subjects: self.subjects.clone(),
            settings: settings.to_vec(),
            config,
            worker,
            own,
        };
        let mut results = BrokerResults::new(node.version());
        for part in &self.only {
            let before = load_average();
            eprintln!("  {part}");
            match part {
                Part::Max => results.max = flood::measure(&bench).await?,
                Part::Steady => results.steady = steady::measure(&bench).await?,
                Part::Burst => results.burst = Some(burst::measure(&bench).await?),
                Part::Backlog => results.backlog = Some(backlog::measure(&bench).await?),
                Part::Memory => {
                    let directory = directory.with_extension("memory");
                    results.memory =
                        Some(memory::measure(&bench, &installation, &directory).await?);
                }
                Part::Profile => results.profile = profile::measure(&bench, &node).await?,
            }
            results.load_averages.extend(before);
            results.load_averages.extend(load_average());
        }
        node.stop().await?;
        Ok(results)
    }
}

fn write(results: &Results, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("results.md"), paper::markdown(results))?;
    if results.brokers.iter().any(|broker| !broker.max.is_empty()) {
        std::fs::write(folder.join("results.svg"), plot::svg(results))?;
    }
    let bars: Vec<_> = results.brokers.iter().map(bars::bars).collect();
    let document = serde_json::json!({ "results": results, "bars": bars });
    std::fs::write(folder.join("results.json"), serde_json::to_string_pretty(&document)?)?;
    Ok(())
}
