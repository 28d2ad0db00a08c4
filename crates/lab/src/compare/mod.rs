//! The comparison: Dormouse beside other ways to delay a message, on private brokers. `make bench`.
//!
//! Durations are divided by 1,000 where a part says "scaled": every contestant gets delays of 1 to 4,095
//! ms, the binary cascades a unit of 1 ms for their second, Dormouse a thousandth of its default unit.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use dormouse::bench::load_average;
use dormouse::config::{Config, Uri};
use dormouse::dev::{Installation, Node, NodeOptions};

use self::results::{BrokerResults, Results};

mod backlog;
mod bars;
mod burst;
mod celery;
mod entrants;
mod flood;
mod memory;
mod paper;
mod plot;
mod profile;
mod relay;
mod results;
mod steady;

#[derive(Debug, Parser)]
#[command(max_term_width = 80)]
struct Options {
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
    #[arg(long, value_delimiter = ',')]
    contestants: Vec<String>,
    /// Settings for Dormouse, KEY=VALUE, unscaled.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
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

/// How a part measures.
#[derive(Clone)]
struct Bench {
    rounds: usize,
    seconds: u64,
    pending: u64,
    contestants: Vec<String>,
    /// Of Dormouse's worker.
    settings: Vec<String>,
    /// The configuration that these settings make, on the broker under test.
    config: Config,
    /// `dormouse`, beside this program's folder.
    worker: PathBuf,
    /// This program, which is also the relay.
    own: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(Relay::Relay { uri, from, to }) = &options.relay {
        return relay::run(uri, from, to).await;
    }
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).context("the program is in a folder")?;
    let worker = folder.join("dormouse");
    ensure!(worker.exists(), "{} is missing: build it first", worker.display());
    let mut results = Results::new();
    for root in &options.brokers {
        let measured = broker(&options, root, &worker, &own).await;
        results.brokers.push(measured.with_context(|| root.display().to_string())?);
        // what is measured is kept, whatever becomes of the next broker
        results.write(&options.into)?;
    }
    println!("{}", paper::markdown(&results));
    println!("Written to {}/.", options.into.display());
    Ok(())
}

async fn broker(
    options: &Options,
    root: &Path,
    worker: &Path,
    own: &Path,
) -> anyhow::Result<BrokerResults> {
    let installation = Installation::find(Some(root))?;
    let directory = options.directory.join(installation.version());
    // a fresh broker: what an earlier run left would be measured too
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    let load = load_average().map_or_else(String::new, |load| format!(", load average {load:.1}"));
    eprintln!("— RabbitMQ {}{load}", installation.version());
    let mut node = Node::start(&installation, NodeOptions::new(&directory)).await?;
    let mut config = entrants::configured(&options.settings)?;
    config.broker.uri = vec![Uri::new(node.amqp_uri())];
    config.broker.management_uri = Some(Uri::new(node.management_uri()));
    let bench = Bench {
        rounds: options.rounds,
        seconds: options.seconds,
        pending: options.pending,
        contestants: options.contestants.clone(),
        settings: options.settings.clone(),
        config,
        worker: worker.to_path_buf(),
        own: own.to_path_buf(),
    };
    let mut results = BrokerResults::new(node.version());
    for part in &options.only {
        let before = load_average();
        eprintln!("  {part}");
        match part {
            Part::Max => results.max = flood::measure(&bench).await?,
            Part::Steady => results.steady = steady::measure(&bench).await?,
            Part::Burst => results.burst = Some(burst::measure(&bench).await?),
            Part::Backlog => results.backlog = Some(backlog::measure(&bench).await?),
            Part::Memory => {
                let directory = directory.with_extension("memory");
                results.memory = Some(memory::measure(&bench, &installation, &directory).await?);
            }
            Part::Profile => results.profile = profile::measure(&bench, &node).await?,
        }
        results.load_averages.extend(before);
        results.load_averages.extend(load_average());
    }
    node.stop().await?;
    Ok(results)
}
