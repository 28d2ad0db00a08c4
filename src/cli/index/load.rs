//! `dormouse load`: what comes when, as a chart.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::lacks;
use crate::cli::paragraph::fold;
use crate::cli::table::{COLUMNS, print, print_json, printable};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::index::{self, Bucket, Index, Step};
use crate::operate::{When, count, number};
use crate::schedule::UnixMs;
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Load {
    /// How fine.
    #[arg(long, value_enum, default_value_t = Fineness::Hour)]
    step: Fineness,
    /// From then on, as RFC 3339; from now on by default.
    #[arg(long, value_name = "TIME")]
    from: Option<jiff::Timestamp>,
    /// Up to then, as RFC 3339; by default an hour of minutes, a day of hours, 30 days.
    #[arg(long, value_name = "TIME")]
    to: Option<jiff::Timestamp>,
    /// To this queue; with an exchange EXCHANGE/ROUTING_KEY.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
}

const HELP: &str = "\
What is scheduled or retrying, by when it comes, in UTC. Asks the index, not
RabbitMQ: dormouse index has to run, or to have run.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fineness {
    Minute,
    Hour,
    Day,
}

/// Of more steps, those in a row without a message are one line.
const MOST_ROWS: u64 = 60;
const MOST_TARGETS: usize = 5;
/// Eighths of a column.
const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

impl Load {
    pub fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (step, length) = match self.step {
            Fineness::Minute => (Step::Minute, Duration::from_secs(3_600)),
            Fineness::Hour => (Step::Hour, Duration::from_secs(24 * 3_600)),
            Fineness::Day => (Step::Day, Duration::from_secs(30 * 24 * 3_600)),
        };
        let now = Clock::default().now();
        let ms = |time: jiff::Timestamp| When::At(time).due(UnixMs(0));
        let from = self.from.map_or(now, ms);
        let to = self.to.map_or(from.plus(length), ms);
        if to <= from {
            return Err(Failure::usage("--to is not after --from: no time lies between them"));
        }
        let index = Index::of(config)?;
        let answer = index.load(step, (from, to), self.target.as_deref(), now)?;
        if output == Output::Json {
            print_json(&index::with(&answer.completeness, json!(answer.value)))?;
        } else {
            let chart = chart(&answer.value);
            let parts = [chart].into_iter().chain(lacks(&answer.completeness));
            print(parts.collect::<Vec<_>>().join("\n\n"))?;
        }
        Ok(Exit::Done)
    }
}

fn chart(load: &index::Load) -> String {
    let index::Load { step, from, to, messages, steps, targets } = load;
    if *messages == 0 {
        return format!("No message comes from {from} to {to}.");
    }
    let length_ms = step.length().as_secs() * 1_000;
    let rows = (to.0 - from.0) / length_ms;
    let most = steps.iter().map(|bucket| bucket.messages).max().unwrap_or(1).max(1);
    let digits = number(most).len();
    let label = label(UnixMs(0), *step).len();
    let room = (COLUMNS - label - digits - 4) as u64;
    let mut lines = Vec::new();
    let mut next = steps.iter().peekable();
    let mut at = from.0;
    while at < to.0 {
        let bucket = next.next_if(|bucket| bucket.from.0 == at);
        if bucket.is_none() && rows > MOST_ROWS {
            let until = next.peek().map_or(to.0, |bucket| bucket.from.0);
            lines.push(format!("{:>label$}", "…"));
            at = until;
            continue;
        }
        lines.push(row(bucket, UnixMs(at), *step, (digits, room), most));
        at += length_ms;
    }
    let totals = fold(&format!("{} from {from} to {to}.", comes(*messages)), 0);
    let mut shown = vec![lines.join("\n"), totals];
    if targets.len() > 1 {
        let digits = targets.iter().map(|of| number(of.messages).len()).max().unwrap_or(0);
        let of = |of: &index::TargetLoad| {
            let target = of.target.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
            let target: String = printable(&target).chars().take(COLUMNS - digits - 2).collect();
            format!("{:>digits$}  {target}", number(of.messages))
        };
        shown.push(targets.iter().take(MOST_TARGETS).map(of).collect::<Vec<_>>().join("\n"));
    }
    shown.join("\n\n")
}

fn comes(messages: u64) -> String {
    let verb = if messages == 1 { "comes" } else { "come" };
    format!("{} {verb}", count(messages, "message"))
}

fn row(
    bucket: Option<&Bucket>,
    at: UnixMs,
    step: Step,
    (digits, room): (usize, u64),
    most: u64,
) -> String {
    let messages = bucket.map_or(0, |bucket| bucket.messages);
    let eighths = (u128::from(messages) * u128::from(room) * 8).div_ceil(u128::from(most));
    let (whole, part) = ((eighths / 8) as usize, (eighths % 8) as usize);
    let line = format!(
        "{}  {:>digits$}  {}{}",
        label(at, step),
        number(messages),
        "█".repeat(whole),
        PARTS[part]
    );
    line.trim_end().to_owned()
}

fn label(at: UnixMs, step: Step) -> String {
    let format = match step {
        Step::Minute | Step::Hour => "%F %H:%M",
        Step::Day => "%F %a",
    };
    let moment = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| at.to_string(), |moment| moment.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Target, TargetLoad};

    fn load(step: Step, steps: &[(u64, u64)], length: u64) -> index::Load {
        let length_ms = step.length().as_secs() * 1_000;
        let steps = steps
            .iter()
            .map(|(at, messages)| Bucket { from: UnixMs(at * length_ms), messages: *messages });
        let (steps, to) = (steps.collect::<Vec<_>>(), UnixMs(length * length_ms));
        let messages = steps.iter().map(|bucket| bucket.messages).sum();
        let target =
            |name: &str| Some(Target { exchange: String::new(), routing_key: name.into() });
        let targets = vec![
            TargetLoad { target: target("mail"), messages: messages - 1 },
            TargetLoad { target: None, messages: 1 },
        ];
        index::Load { step, from: UnixMs(0), to, messages, steps, targets }
    }

    #[test]
    fn a_chart_is_never_wider_than_a_terminal_and_shows_the_smallest() {
        let shown = chart(&load(Step::Hour, &[(0, 1), (2, 1_000_000), (3, 500_000)], 4));
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "1970-01-01 00:00          1  ▏");
        assert_eq!(lines[1], "1970-01-01 01:00          0");
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{shown}");
        assert_eq!(lines[2].chars().count(), COLUMNS, "{shown}");
        let bars = |line: &str| line.chars().filter(|c| *c == '█').count();
        assert_eq!(bars(lines[2]), 2 * bars(lines[3]) + usize::from(lines[3].ends_with('▌')));
        assert!(shown.contains("1,500,001 messages come from 1970-01-01T00:00:00.000Z"), "{shown}");
        assert!(shown.ends_with("1,500,000  mail\n        1  ?"), "{shown}");
    }

    #[test]
    fn of_many_steps_the_empty_ones_are_one_line() {
        let shown = chart(&load(Step::Minute, &[(5, 3), (900, 3)], 1_440));
        let lines: Vec<_> = shown.lines().take(6).map(str::trim).collect();
        assert_eq!((lines[0], lines[2], lines[4]), ("…", "…", "…"), "{shown}");
        assert!(lines[1].starts_with("1970-01-01 00:05  3  █"), "{shown}");
        assert_eq!(lines[5], "", "{shown}");
    }
}
