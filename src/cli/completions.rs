//! `dormouse completions SHELL`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::table::print;
use super::{Exit, Failure};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Completions {
    shell: Shell,
}

const HELP: &str = "\
Where the shells look for it:
  bash  dormouse completions bash > /etc/bash_completion.d/dormouse
  zsh   dormouse completions zsh > \"${fpath[1]}/_dormouse\"
  fish  dormouse completions fish > ~/.config/fish/completions/dormouse.fish";

impl Completions {
    pub fn run(self, mut command: Command) -> Result<Exit, Failure> {
        // in memory first: clap_complete panics on a closed pipe
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "dormouse", &mut script);
        print(String::from_utf8_lossy(&script).trim_end())?;
        Ok(Exit::Done)
    }
}
