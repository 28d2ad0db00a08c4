//! `dormouse list`.

use clap::Args;

use super::find::{relative, state, target};
use super::lacks;
use crate::cli::table::{Table, left, print, print_json, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::index::{Filter, Index, Page, State};
use crate::operate::{When, count};
use crate::schedule::UnixMs;
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct List {
    /// Of these states, separated by commas; any of them with "any".
    #[arg(
        long,
        value_name = "STATE",
        value_delimiter = ',',
        default_value = "scheduled,retrying,overdue"
    )]
    state: Vec<String>,
    /// To this queue; with an exchange EXCHANGE/ROUTING_KEY.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Whose key begins with that.
    #[arg(long, value_name = "TEXT")]
    key_prefix: Option<String>,
    /// That come then or later, as RFC 3339.
    #[arg(long, value_name = "TIME")]
    due_after: Option<jiff::Timestamp>,
    /// That come before, as RFC 3339.
    #[arg(long, value_name = "TIME")]
    due_before: Option<jiff::Timestamp>,
    /// How many to show at most.
    #[arg(long, short = 'n', default_value_t = 50, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// Go on where the page before ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

const HELP: &str = "\
In the order in which they come; with --key-prefix in the order of their keys.
States: scheduled, retrying (an attempt failed), overdue (due a minute ago, and
nothing was heard), cancelled and replaced (still asleep, and will not come),
delivered, dead, dropped, gone (a census did not find it).
Asks the index, not RabbitMQ: dormouse index has to run, or to have run.";

impl List {
    pub fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let filter = self.filter()?;
        let (index, now) = (Index::of(config)?, Clock::default().now());
        let answer = index.list(&filter, self.limit.into(), self.cursor.as_deref(), now)?;
        if output == Output::Json {
            print_json(&Page::document(&answer))?;
            return Ok(Exit::Done);
        }
        let mut parts = Vec::new();
        let Page { messages, next } = &answer.value;
        if !messages.is_empty() {
            let mut table =
                Table::new([left("comes"), left("state"), wide("target"), wide("key"), left("id")]);
            for row in messages {
                let key = row.key.clone().unwrap_or_default();
                let state = state(row, now).to_owned();
                table.row([relative(row.wake, now), state, target(row), key, row.id.clone()]);
            }
            parts.push(table.to_string());
        }
        parts.push(self.totals(&index, &filter, messages.len(), now)?);
        parts.extend(next.as_ref().map(|next| format!("More: --cursor {next}")));
        parts.extend(lacks(&answer.completeness));
        print(parts.join("\n\n"))?;
        Ok(Exit::Done)
    }

    fn filter(&self) -> Result<Filter, Failure> {
        let states = match &self.state[..] {
            [any] if any == "any" => Vec::new(),
            states => {
                let states = states.iter().map(|state| {
                    let known = state.parse::<State>();
                    known.map_err(|problem| Failure::usage(format!("--state {state}: {problem}")))
                });
                states.collect::<Result<_, _>>()?
            }
        };
        let ms = |time: Option<jiff::Timestamp>| time.map(|time| When::At(time).due(UnixMs(0)));
        Ok(Filter {
            states,
            target: self.target.clone(),
            key_prefix: self.key_prefix.clone(),
            due_after: ms(self.due_after),
            due_before: ms(self.due_before),
        })
    }

    fn totals(
        &self,
        index: &Index,
        filter: &Filter,
        shown: usize,
        now: UnixMs,
    ) -> Result<String, Failure> {
        let counts = index.count(filter, now)?.value;
        let all: u64 = counts.iter().map(|(_, of)| of).sum();
        if all == 0 {
            return Ok("No message is like that.".into());
        }
        let states = counts
            .iter()
            .map(|(state, of)| format!("{} {}", crate::operate::number(*of), state.as_str()));
        let states: Vec<_> = states.collect();
        let shown = crate::operate::number(shown as u64);
        Ok(format!("{shown} of {} shown: {}.", count(all, "message"), states.join(", ")))
    }
}
