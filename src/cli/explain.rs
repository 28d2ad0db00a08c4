//! `dormouse explain 2h30m`: the exact path of such a message. Asks no broker.

use std::time::Duration;

use clap::Args;

use super::table::{Table, facts, left, print, print_json, right};
use super::{Exit, Failure, Output};
use crate::config::{Config, durations};
use crate::operate::explain::{Path, Sleep, TooLong, explain};
use crate::operate::{When, count};
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Explain {
    /// The delay, such as 90s or 2h30m; 0 for none.
    #[arg(value_name = "DELAY", value_parser = delay, required_unless_present = "at")]
    delay: Option<Duration>,
    /// When it is due, as RFC 3339, if it were published now.
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    at: Option<jiff::Timestamp>,
}

const HELP: &str = "\
The path follows from the configuration alone; no broker is asked. A message
that fails makes further rounds through the same queues.";

/// Zero needs no unit.
fn delay(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" { Ok(Duration::ZERO) } else { durations::parse_duration(text) }
}

impl Explain {
    pub fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let path = explain(config, When::of(self.at, self.delay), Clock::default().now())?;
        match output {
            Output::Json => print_json(&path.document())?,
            Output::Table => print(screen(&path))?,
        }
        Ok(Exit::Done)
    }
}

fn screen(path: &Path) -> String {
    let (first, rest) = match path.keys.split_first() {
        Some((first, rest)) => (first.as_str(), rest.join(", ")),
        None => ("(none)", String::new()),
    };
    let mut about = vec![
        ("delay", durations::duration(path.delay)),
        ("published to", format!("exchange {}", path.delay_exchange)),
        ("planned into", format!("exchange {}", path.entry)),
        ("routing key", first.to_owned()),
    ];
    if !rest.is_empty() {
        about.push(("CC", rest));
    }
    about.push(("hops", count(path.plan.hops.into(), "level queue")));
    about.push(("asleep", durations::duration(path.plan.asleep)));
    about.push(("held", format!("{} in a worker, unacked", durations::duration(path.plan.held))));
    format!("{}\n\n{}", facts(&about), table(path))
}

fn table(path: &Path) -> Table {
    let mut table = Table::new([right("after"), left("in"), right("for")]);
    let at = durations::duration;
    table.row([at(Duration::ZERO), path.intake.clone(), "until planned".into()]);
    for Sleep { queue, ttl, from } in &path.sleeps {
        table.row([at(*from), queue.clone(), at(*ttl)]);
    }
    table.row([at(path.plan.asleep), path.due.clone(), at(path.plan.held)]);
    let target = if path.target_exchange.is_empty() {
        "the queue that its routing key names".to_owned()
    } else {
        format!("exchange {}, with its routing key", path.target_exchange)
    };
    table.row([at(path.delay), target, String::new()]);
    table
}

impl From<TooLong> for Failure {
    fn from(error: TooLong) -> Self {
        Self::usage(error.to_string())
    }
}
