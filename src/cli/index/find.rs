//! `dormouse find`.

use clap::Args;
use serde_json::json;

use super::lacks;
use crate::cascade::Cascade;
use crate::cli::table::{Table, age, facts, left, print, print_json, right, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::index::{self, Answer, Index, Noted, Row, State, found, place};
use crate::schedule::UnixMs;
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Find {
    /// The message_id or x-dormouse-id of a message, or the x-dormouse-key of some.
    #[arg(value_name = "ID|KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    what: String,
}

const HELP: &str = "\
Asks the index, not RabbitMQ: dormouse index has to run, or to have run. Where a
message is follows from its plan; a sweep may have planned it anew.
Exits with 1 if there is none.";

impl Find {
    pub fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (index, now) = (Index::of(config)?, Clock::default().now());
        let answer = index.find(&self.what, now)?;
        let cascade = Cascade::of(config);
        let histories = answer.value.iter().map(|row| Ok(index.history(&row.id, now)?.value));
        let histories = histories.collect::<Result<Vec<_>, Failure>>()?;
        let messages = answer.value.iter().zip(&histories);
        if output == Output::Json {
            let messages = messages.map(|(row, history)| found(row, history, &cascade, now));
            let messages = json!({ "messages": messages.collect::<Vec<_>>() });
            print_json(&index::with(&answer.completeness, messages))?;
        } else {
            let shown = messages.map(|(row, history)| screen(row, history, &cascade, now));
            let shown = shown.chain(lacks(&answer.completeness)).collect::<Vec<_>>();
            if !shown.is_empty() {
                print(shown.join("\n\n"))?;
            }
        }
        if answer.value.is_empty() {
            return Err(Failure::failed(self.nothing(&answer)));
        }
        Ok(Exit::Done)
    }

    fn nothing(&self, answer: &Answer<Vec<Row>>) -> String {
        let what = format!(
            "there is no message with the id, message id or key {:?} in the index",
            self.what
        );
        if answer.completeness.complete { what } else { format!("{what}, which is not complete") }
    }
}

fn screen(row: &Row, history: &[Noted], cascade: &Cascade, now: UnixMs) -> String {
    let state = row.state_at(now);
    let mut about = vec![("id", row.id.clone())];
    about.extend(row.message_id.clone().map(|id| ("message id", id)));
    about.extend(row.key.clone().map(|key| ("key", key)));
    about.push(("state", state.as_str().to_owned()));
    about.extend(row.reason.as_ref().map(|reason| {
        let detail = row.detail.as_deref().map_or(String::new(), |detail| format!(": {detail}"));
        ("why", format!("{reason}{detail}"))
    }));
    about.push(("target", target(row)));
    about.extend(row.due.map(|due| ("due", format!("{due} ({})", relative(due, now)))));
    if state.is_to_come() && row.due != Some(row.wake) {
        about.push(("comes", format!("{} ({})", row.wake, relative(row.wake, now))));
    }
    about.push(("attempt", row.attempt.to_string()));
    about.push(("where", place(cascade, row, now).words()));
    let mut table = Table::new([left("when"), left("event"), right("attempt"), wide("what")]);
    for Noted { at, what, wake, attempt, detail } in history {
        let comes = wake.map(|wake| format!("comes at {wake}"));
        let words = [detail.clone(), comes].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let what = serde_json::to_value(what).ok();
        let what = what.and_then(|what| Some(what.as_str()?.to_owned())).unwrap_or_default();
        let attempt = attempt.map(|attempt| attempt.to_string()).unwrap_or_default();
        table.row([at.to_string(), what, attempt, words]);
    }
    let mut shown = facts(&about);
    if !table.is_empty() {
        shown = format!("{shown}\n\n{table}");
    }
    shown
}

/// What it goes to, as far as that is known.
pub(super) fn target(row: &Row) -> String {
    row.target.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string)
}

/// `in 2h3m`, `5s ago`.
pub(super) fn relative(at: UnixMs, now: UnixMs) -> String {
    if at == UnixMs(0) {
        return "?".into();
    }
    if at > now {
        format!("in {}", age(at.since(now)))
    } else {
        format!("{} ago", age(now.since(at)))
    }
}

/// The state, and of one that is late by how much.
pub(super) fn state(row: &Row, now: UnixMs) -> &'static str {
    let state: State = row.state_at(now);
    state.as_str()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now = UnixMs(100_000_000);
        assert_eq!(relative(now.plus(Duration::from_secs(7_380)), now), "in 2h3m");
        assert_eq!(relative(now.minus(Duration::from_secs(5)), now), "5s ago");
        assert_eq!(relative(UnixMs(0), now), "?");
    }
}
