//! `dormouse topology export`: the topology as files.

use clap::Args;

use crate::cli::table::print_json;
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::vhost_name;
use crate::topology::{Topology, export};

#[derive(Debug, Args)]
pub struct Export {
    /// The level queues, their TTLs and what they expire into, instead of the definitions.
    #[arg(long)]
    levels: bool,
}

impl Export {
    /// Needs no broker.
    pub fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        match (self.levels, output) {
            (true, Output::Table) => print!("{}", export::levels(config)),
            (true, Output::Json) => print_json(&export::level_queues(config))?,
            (false, _) => {
                print!("{}", export::definitions(&Topology::of(config), &vhost_name(config)));
            }
        }
        Ok(Exit::Done)
    }
}
