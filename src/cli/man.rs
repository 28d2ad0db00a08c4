//! `dormouse man DIRECTORY`.

use std::path::PathBuf;

use clap::{Args, Command};

use super::table::print;
use super::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Man {
    /// Where they go: a directory that exists. There is one page for each command.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Man {
    pub fn run(self, command: Command) -> Result<Exit, Failure> {
        clap_mangen::generate_to(command, &self.directory).map_err(|error| {
            Failure::failed(format!("cannot write to {}: {error}", self.directory.display()))
        })?;
        print(format!("To read one: man {}", self.directory.join("dormouse.1").display()))?;
        Ok(Exit::Done)
    }
}
