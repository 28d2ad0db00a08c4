//! `dormouse dlq list`.

use bytes::Bytes;
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

/// In place of the exchange of a message that was to go back to a queue.
const BACK: &str = "(back to)";

/// A longer queue is not looked at as a whole if the limit is below, which may change its order.
const WHOLE: u32 = 2_000;

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
        if self.reason.is_none() {
            let most = u32::try_from(self.limit).unwrap_or(u32::MAX);
            look.browse.limit(most.max(WHOLE));
        }
        let seen = self.see(&mut look).await;
        let (ready, looked_at) = (look.browse.ready(), look.browse.looked_at());
        let ended = look.end().await;
        let (entries, matching) = seen?;
        ended?;
        if output == Output::Json {
            print_json(&json!({
                "queue": Names::of(config).dlq(),
                "ready": ready,
                "looked_at": looked_at,
                "matching": matching,
                "messages": entries.iter().map(summary).collect::<Vec<_>>(),
            }))?;
            return Ok(Exit::Done);
        }
        if !entries.is_empty() {
            print(format!("{}\n", table(&entries, Clock::default().now())))?;
        }
        print(self.totals(entries.len() as u64, matching, ready.into()))?;
        Ok(Exit::Done)
    }

    /// The first ones that match, and how many match of those that were looked at.
    async fn see(&self, look: &mut Look) -> Result<(Vec<Entry>, u64), Failure> {
        let (mut entries, mut matching) = (Vec::new(), 0);
        while let Some(mut entry) = look.next().await? {
            if self.reason.is_some_and(|cause| !cause.is_of(&entry)) {
                continue;
            }
            matching += 1;
            if entries.len() < self.limit {
                // a list of many would keep as many bodies
                entry.message.body = Bytes::new();
                entries.push(entry);
            }
        }
        Ok((entries, matching))
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
    match (entry.attempts(), entry.comeback()) {
        (Some(0), Some(comeback)) if comeback.retries == 1 => "1 retry".into(),
        (Some(0), Some(comeback)) => format!("{} retries", comeback.retries),
        (Some(attempts), _) => attempts.to_string(),
        (None, _) => String::new(),
    }
}

/// What both `list` and `show` tell a program.
pub fn summary(entry: &Entry) -> Value {
    let failure = entry.failure();
    json!({
        "id": entry.id,
        "reason": entry.reason().map(|reason| reason.as_str()),
        "detail": failure.map(|failure| &failure.detail),
        "attempts": entry.attempts(),
        "queue": entry.queue(),
        "retries": entry.comeback().map(|comeback| comeback.retries),
        "history": entry.comeback().map(|comeback| {
            comeback.history().iter().map(ToString::to_string).collect::<Vec<_>>()
        }),
        "first_failure": failure.map(|failure| failure.first.to_string()),
        "last_failure": failure.map(|failure| failure.last.to_string()),
        "exchange": entry.exchange(),
        "routing_key": entry.routing_key(),
    })
}
