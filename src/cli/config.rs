//! `dormouse config`: what is in effect, and what is wrong with it.

use ::config::{File, FileFormat};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::table::{facts, print, print_json};
use super::{Exit, Failure, Options, Output};
use crate::config::{Config, Fault, durations};
use crate::operate::count;
use crate::topology::layout;

#[derive(Debug, Args)]
pub struct Configuration {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the configuration in effect as a file that loads again, passwords masked.
    Show,
    /// Check it as a whole, without a broker, and name every fault.
    Check,
}

impl Configuration {
    pub fn run(self, options: &Options) -> Result<Exit, Failure> {
        match (self.verb, options.output) {
            (Verb::Show, Output::Table) => print(options.load()?.to_toml().trim_end())?,
            (Verb::Show, Output::Json) => print_json(&document(&options.load()?)?)?,
            (Verb::Check, Output::Table) => print(sound(&options.load()?))?,
            (Verb::Check, Output::Json) => return check(options),
        }
        Ok(Exit::Done)
    }
}

/// The same keys and values as the TOML.
fn document(config: &Config) -> Result<Json, Failure> {
    let failed = |error: ::config::ConfigError| Failure::failed(error.to_string());
    let toml = File::from_str(&config.to_toml(), FileFormat::Toml);
    ::config::Config::builder()
        .add_source(toml)
        .build()
        .and_then(|built| built.try_deserialize())
        .map_err(failed)
}

fn sound(config: &Config) -> String {
    let layout = layout(config);
    let brokers: Vec<_> = config.broker.uri.iter().map(ToString::to_string).collect();
    let queues = count(layout.queue_count() as u64, "queue");
    let about = [
        ("broker", brokers.join(", ")),
        ("delay exchanges", count(config.delay_exchanges.len() as u64, "exchange")),
        ("levels", format!("{} with {queues}", layout.levels().len())),
        ("longest delay", durations::duration(config.topology.max_delay)),
    ];
    format!("The configuration is sound.\n\n{}", facts(&about))
}

/// Faults as data; the same exit code as everywhere else.
fn check(options: &Options) -> Result<Exit, Failure> {
    let faults = match crate::config::load(options.sources()?) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.faults().iter().map(fault).collect(),
    };
    print_json(&json!({ "faults": faults }))?;
    Ok(if faults.is_empty() { Exit::Done } else { Exit::Usage })
}

fn fault(Fault { key, value, origin, problem }: &Fault) -> Json {
    json!({ "key": key, "value": value, "origin": origin, "problem": problem })
}
