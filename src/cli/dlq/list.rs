//! `dormouse dlq list`.

use clap::Args;
use serde_json::{Value, json};

use super::entry::short_ids;
use super::select::{Cause, reasons};
use super::{Entry, Look, exchange_name};
use crate::cli::table::{Table, age, count, left, number, print, print_json, right, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::schedule::UnixMs;
use crate::topology::Names;
use crate::worker::Clock;

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
        let mut look = Look::begin(config).await?;
        let seen = self.see(&mut look).await;
        let (ready, looked_at) = (u64::from(look.browse.ready()), look.browse.looked_at());
        look.end().await?;
        let entries = seen?;
        if output == Output::Json {
            print_json(&json!({
                "queue": Names::of(config).dlq(),
                "ready": ready,
                "looked_at": looked_at,
                "messages": entries.iter().map(summary).collect::<Vec<_>>(),
            }))?;
            return Ok(Exit::Done);
        }
        if !entries.is_empty() {
            print(format!("{}\n", table(&entries, Clock::default().now())))?;
        }
        print(self.totals(entries.len(), ready, looked_at))?;
        Ok(Exit::Done)
    }

    async fn see(&self, look: &mut Look) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        while entries.len() < self.limit {
            let Some(mut entry) = look.next().await? else { break };
            if self.reason.is_none_or(|cause| cause.is_of(&entry)) {
                // a list of many would keep as many bodies
                entry.message.body.truncate(0);
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn totals(&self, shown: usize, ready: u64, looked_at: u64) -> String {
        let hint = if looked_at < ready { "; --limit shows more" } else { "" };
        match self.reason {
            None if ready == 0 => "The DLQ is empty.".into(),
            None => format!("{} of {} shown{hint}.", number(shown as u64), count(ready, "message")),
            Some(_) => {
                let (shown, looked_at) = (number(shown as u64), number(looked_at));
                format!(
                    "{shown} shown with that reason; looked at {looked_at} of {}{hint}.",
                    count(ready, "message")
                )
            }
        }
    }
}

fn table(entries: &[Entry], now: UnixMs) -> Table {
    let mut table = Table::new([
        left("id"),
        left("reason"),
        right("attempts"),
        right("failed"),
        wide("exchange"),
        wide("key"),
    ]);
    for (entry, id) in entries.iter().zip(short_ids(entries)) {
        let ago = entry
            .failure()
            .map_or_else(String::new, |failure| format!("{} ago", age(now.since(failure.last))));
        table.row([
            id,
            entry.reason_text().into(),
            entry.attempts().map(|attempts| attempts.to_string()).unwrap_or_default(),
            ago,
            exchange_name(entry.exchange()),
            entry.routing_key().into(),
        ]);
    }
    table
}

/// What both `list` and `show` tell a program.
pub fn summary(entry: &Entry) -> Value {
    let failure = entry.failure();
    json!({
        "id": entry.id,
        "reason": entry.reason().map(|reason| reason.as_str()),
        "detail": failure.map(|failure| &failure.detail),
        "attempts": entry.attempts(),
        "first_failure": failure.map(|failure| failure.first.to_string()),
        "last_failure": failure.map(|failure| failure.last.to_string()),
        "exchange": entry.exchange(),
        "routing_key": entry.routing_key(),
    })
}
