//! `dormouse cancel`, `dormouse reschedule` and `dormouse run-now`: about messages that were scheduled with a key.

use std::time::Duration;

use clap::Args;

use super::paragraph::fold;
use super::table::{Table, left, print, print_json, wide};
use super::{Exit, Failure, Output};
use crate::config::{Config, durations};
use crate::control::{Outcome, Told};
use crate::operate::command::{
    Command, Commanded, Keys, KeysError, Missing, command, is_refused_or_too_late,
};
use crate::operate::publish::Due;
use crate::operate::{When, count, number};
use crate::schedule::UnixMs;
use crate::worker::Clock;

/// Of more keys only those are shown that something is wrong with.
const MOST_ROWS: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = CANCEL_HELP)]
pub struct Cancel {
    /// What the messages were scheduled with as x-dormouse-key; 10,000 keys at most.
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// None of them is due later, as RFC 3339: workers need not remember the keys for the longest
    /// delay.
    #[arg(long, value_name = "TIME")]
    due: Option<jiff::Timestamp>,
    /// Return when RabbitMQ has confirmed it, without the answer.
    #[arg(long)]
    no_wait: bool,
}

const CANCEL_HELP: &str = "\
Nothing with these keys is tried any more, if RabbitMQ confirms this at least
one second before it is due. The answers:
  cancelled  a unique schedule, of which no attempt has begun
  noted      a message of which nobody knows whether it is still to come
  unknown    the same, and a complete index never saw the key
  too-late   an attempt may have begun: it may have arrived
  refused    no effect, for the reason that is told
Exits with 1 if one is refused, too late or not answered. Needs commands.enabled
on the workers.";

#[derive(Debug, Args)]
#[command(after_help = RESCHEDULE_HELP)]
pub struct Reschedule {
    /// What the messages were scheduled with as x-dormouse-key; 10,000 keys at most.
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// How long from now, such as 90s or 2h30m.
    #[arg(long, short, value_parser = durations::parse_duration, value_name = "DURATION", conflicts_with = "at", required_unless_present = "at")]
    delay: Option<Duration>,
    /// When, as RFC 3339: 2027-01-01T09:00:00+01:00.
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    /// Return when RabbitMQ has confirmed it, without the answer.
    #[arg(long)]
    no_wait: bool,
}

const RESCHEDULE_HELP: &str = "\
Nothing with these keys is tried before that time, if RabbitMQ confirms this at
least one second before it is due. The time has to be later than what stands.
An earlier one takes a unique schedule that is published again. The answers:
  scheduled  a unique schedule, of which no attempt has begun
  noted      a message of which nobody knows whether it is still to come
  unknown    the same, and a complete index never saw the key
  too-late   an attempt may have begun: it may have arrived
  refused    no effect, for the reason that is told
Exits with 1 if one is refused, too late or not answered. Needs commands.enabled
on the workers.";

#[derive(Debug, Args)]
#[command(after_help = RUN_NOW_HELP)]
pub struct RunNow {
    /// What the message was scheduled with as x-dormouse-key.
    #[arg(value_name = "KEY")]
    key: String,
    /// Not now, but so long from now, such as 90s or 2h30m.
    #[arg(long, short, value_parser = durations::parse_duration, value_name = "DURATION", conflicts_with = "at")]
    delay: Option<Duration>,
    /// Not now, but at that time, as RFC 3339: 2027-01-01T09:00:00+01:00.
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    /// Return when RabbitMQ has confirmed it, without the answers.
    #[arg(long)]
    no_wait: bool,
}

const RUN_NOW_HELP: &str = "\
The message with this key is looked for among all that sleep, and comes at once
or at that earlier time. A worker takes up to 10,000 messages out of the levels
for it and puts them back. The answers:
  moved      it comes at that time, or at its own if that is sooner
  not-found  it does not sleep: it comes within seconds, has come, or never was
  too-deep   more than 10,000 messages sleep where it can be: nothing was moved
  running    it is still looked for, or its worker has ended: ask again
  refused    no effect, for the reason that is told
Exits with 1 unless it was moved. Needs commands.enabled on the workers.";

impl RunNow {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let key = Keys::checked(&[self.key])?;
        let now = Clock::default().now();
        let due = match When::of(self.at, self.delay) {
            When::Now => None,
            when => Some(Due::checked(when, config, now)?.at(now)),
        };
        let commanded = command(config, &key, Command::RunNow { due }, !self.no_wait).await?;
        report(&commanded, output)
    }
}

impl Cancel {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let keys = Keys::checked(&self.keys)?;
        let due_by = self.due.map(|due| When::At(due).due(UnixMs(0)));
        let commanded = command(config, &keys, Command::Cancel { due_by }, !self.no_wait).await?;
        report(&commanded, output)
    }
}

impl Reschedule {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let keys = Keys::checked(&self.keys)?;
        let now = Clock::default().now();
        let due = Due::checked(When::of(self.at, self.delay), config, now)?.at(now);
        if due <= now {
            return Err(Failure::usage("that time has passed: nothing can be put off until then"));
        }
        let commanded = command(config, &keys, Command::Reschedule { due }, !self.no_wait).await?;
        report(&commanded, output)
    }
}

fn report(commanded: &Commanded, output: Output) -> Result<Exit, Failure> {
    match output {
        Output::Json => print_json(&commanded.document())?,
        Output::Table => print(screen(commanded))?,
    }
    if let Missing::Silent(why) = &commanded.missing {
        return Err(Failure::failed(why.clone()));
    }
    Ok(if commanded.has_failed() { Exit::Failed } else { Exit::Done })
}

fn screen(commanded: &Commanded) -> String {
    let Commanded { keys, told, missing } = commanded;
    let mut parts = Vec::new();
    let is_shown = |told: &&Told| *keys <= MOST_ROWS || is_refused_or_too_late(told);
    let shown: Vec<_> = told.iter().filter(is_shown).take(MOST_ROWS).collect();
    if !shown.is_empty() {
        parts.push(table(&shown).to_string());
    }
    if *keys > shown.len() && !told.is_empty() {
        parts.push(sums(told));
    }
    if *missing == Missing::NotAwaited {
        parts.push(format!("Confirmed by RabbitMQ for {}.", count(*keys as u64, "key")));
    }
    parts.join("\n\n")
}

/// What was told, with the reason of a refusal.
pub(super) fn table(told: &[&Told]) -> Table {
    let mut table = Table::new([left("outcome"), wide("key"), wide("why")]);
    for Told { key, outcome } in told {
        let why = match outcome {
            Outcome::Refused(reason) => reason.clone(),
            outcome if outcome.may_have_arrived() => "it may have arrived".to_owned(),
            _ => String::new(),
        };
        table.row([outcome.as_str().to_owned(), key.clone(), why]);
    }
    table
}

/// `9,998 noted, 2 too-late`.
fn sums(told: &[Told]) -> String {
    let mut sums: Vec<(&str, u64)> = Vec::new();
    for Told { outcome, .. } in told {
        match sums.iter_mut().find(|(word, _)| *word == outcome.as_str()) {
            Some((_, sum)) => *sum += 1,
            None => sums.push((outcome.as_str(), 1)),
        }
    }
    let sums: Vec<_> = sums.iter().map(|(word, sum)| format!("{} {word}", number(*sum))).collect();
    fold(&format!("{}.", sums.join(", ")), 0)
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(count: usize, outcome: &Outcome<String>) -> impl Iterator<Item = Told> {
        (0..count).map(move |number| Told { key: format!("k{number}"), outcome: outcome.clone() })
    }

    fn commanded(told: Vec<Told>) -> Commanded {
        Commanded { keys: told.len(), told, missing: Missing::None }
    }

    #[test]
    fn few_keys_are_shown_and_of_many_those_that_something_is_wrong_with() {
        let few = [Outcome::Noted, Outcome::TooLate, Outcome::Refused("it was cancelled".into())];
        let few: Vec<_> = few.iter().flat_map(|outcome| told(1, outcome)).collect();
        let shown = screen(&commanded(few));
        let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "outcome   key  why",
                "noted     k0",
                "too-late  k0   it may have arrived",
                "refused   k0   it was cancelled",
            ]
        );
        let many = told(9_990, &Outcome::Noted).chain(told(10, &Outcome::TooLate)).collect();
        let shown = screen(&commanded(many));
        assert_eq!(shown.lines().count(), 13, "{shown}");
        assert!(shown.ends_with("\n\n9,990 noted, 10 too-late."), "{shown}");
        let bad = told(30, &Outcome::Refused("it was cancelled".into())).collect();
        let shown = screen(&commanded(bad));
        assert!(shown.lines().count() == 23 && shown.ends_with("30 refused."), "{shown}");
    }
}
