//! `dormouse dlq list`.

use clap::Args;

use super::which::{exchange_name, missed, reasons};
use crate::cli::table::{Table, age, left, print, print_json, right, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::dlq::{self, Cause, Entry, Selection, short_ids};
use crate::operate::{count, number};
use crate::schedule::UnixMs;
use crate::worker::Clock;

/// In place of the exchange of a message that was to go back to a queue.
const BACK: &str = "(back to)";

#[derive(Debug, Args)]
pub struct List {
    /// How many to show at most.
    #[arg(long, short = 'n', default_value_t = 100, value_name = "COUNT")]
    limit: usize,
    /// Only messages with this reason; '?' for those that are not Dormouse's.
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    reason: Option<Cause>,
}

impl List {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let selection = self.reason.map_or(Selection::All, Selection::Reason);
        let listed = dlq::list(config, &selection, self.limit, missed).await?;
        if output == Output::Json {
            print_json(&listed.document(config))?;
            return Ok(Exit::Done);
        }
        let entries = &listed.entries;
        if !entries.is_empty() {
            print(format!("{}\n", table(entries, Clock::default().now())))?;
        }
        print(self.totals(entries.len() as u64, listed.matching, listed.ready.into()))?;
        Ok(Exit::Done)
    }

    fn totals(&self, shown: u64, matching: u64, ready: u64) -> String {
        let (of, which) = match self.reason {
            None if ready == 0 => return "The DLQ is empty.".into(),
            None => (ready, String::new()),
            Some(_) => (matching, format!(" with that reason, of {} in the DLQ", number(ready))),
        };
        let hint = if shown < of { "; --limit shows more" } else { "" };
        format!("{} of {}{which} shown{hint}.", number(shown), count(of, "message"))
    }
}

fn table(entries: &[Entry], now: UnixMs) -> Table {
    let mut table = Table::new([
        left("id"),
        left("reason"),
        right("attempts"),
        right("failed"),
        wide("exchange"),
        wide("key or queue"),
    ]);
    for (entry, id) in entries.iter().zip(short_ids(entries)) {
        let ago = entry
            .failure()
            .map_or_else(String::new, |failure| format!("{} ago", age(now.since(failure.last))));
        table.row([
            id,
            entry.reason_text().into(),
            tried(entry),
            ago,
            entry.queue().map_or_else(|| exchange_name(entry.exchange()), |_| BACK.into()),
            entry.queue().unwrap_or(entry.routing_key()).into(),
        ]);
    }
    table
}

/// Deliveries that failed, or how often its consumer got it back in vain.
fn tried(entry: &Entry) -> String {
    match (entry.attempts(), entry.retry_state()) {
        (Some(0), Some(retry_state)) if retry_state.retries == 1 => "1 retry".into(),
        (Some(0), Some(retry_state)) => format!("{} retries", retry_state.retries),
        (Some(attempts), _) => attempts.to_string(),
        (None, _) => String::new(),
    }
}
