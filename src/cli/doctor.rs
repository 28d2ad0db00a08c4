//! `dormouse doctor`: what could lose, delay, duplicate or hide messages here.

use std::time::Duration;

use clap::Args;

use super::paragraph::paragraph;
use super::table::{print, print_json, printable};
use super::{Exit, Failure, Output};
use crate::config::{Config, durations};
use crate::operate::doctor::{Check, DoctorError, Examined, Grade, Look, canary, doctor};
use crate::operate::vhost_name;
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Doctor {
    /// Where a worker answers, as its http.listen; may be repeated. By default the one of this
    /// configuration, on this machine.
    #[arg(long = "worker", value_name = "HOST:PORT")]
    workers: Vec<String>,
    /// Send a message through the whole path to a queue of its own, with this delay; by default a
    /// second more than topology.unit.
    #[arg(
        long,
        value_name = "DELAY",
        num_args = 0..=1,
        require_equals = true,
        value_parser = durations::parse_duration
    )]
    canary: Option<Option<Duration>>,
}

const HELP: &str = "\
Each question is answered with what was seen, and where:
  pass    it was seen to be as it should be
  warn    worth a change
  fail    messages are lost, late, doubled or stuck by it, or can be
  unseen  it could not be seen: who may see it, or when, stands below it

Changes nothing. Looks at most with the tag administrator; what a user with
fewer rights cannot see is unseen, never a pass. A canary needs configure and
read on ^dormouse-canary\\. and leaves nothing behind.

Exits with 3 if a question fails, and with 0 if none does; without an answer of
the management API as `dormouse topology verify` does.";

impl Doctor {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let delay = self.canary.map(|delay| delay.unwrap_or_else(|| canary::usual_delay(config)));
        let look = Look { workers: self.workers, canary: delay };
        let examined = doctor(config, &Clock::default(), &look).await?;
        match output {
            Output::Json => print_json(&examined.document(config))?,
            Output::Table => print(screen(config, &examined))?,
        }
        Ok(match &examined.rabbitmq_version {
            _ if examined.count(Grade::Fail) > 0 => Exit::Differs,
            Ok(_) => Exit::Done,
            // it looked, and cannot vouch for the rest
            Err(error) => error.into(),
        })
    }
}

fn screen(config: &Config, examined: &Examined) -> String {
    let broker = match &examined.rabbitmq_version {
        Ok(version) => format!("RabbitMQ {}, ", printable(version)),
        Err(_) => String::new(),
    };
    let heading = format!("{broker}virtual host {}", printable(&vhost_name(config)));
    let checks = examined.checks.iter().map(shown);
    let counts = Grade::ALL.map(|grade| format!("{} {}", examined.count(grade), grade.as_str()));
    let counts = format!("{}.", counts.join(", "));
    std::iter::once(heading).chain(checks).chain([counts]).collect::<Vec<_>>().join("\n\n")
}

fn shown(check: &Check) -> String {
    let Check { name, asks, grade, evidence, from: _, next } = check;
    let mark = match grade {
        Grade::Pass => "pass   ",
        Grade::Warn => "warn   ",
        Grade::Fail => "FAIL   ",
        Grade::Unseen => "unseen ",
    };
    let mut lines = vec![
        paragraph(mark, &format!("{name}: {asks}"), mark.len()),
        paragraph("       ", &printable(evidence), mark.len()),
    ];
    if !next.is_empty() {
        lines.push(paragraph("    do ", &printable(next), mark.len()));
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

impl From<DoctorError> for Failure {
    fn from(DoctorError(error): DoctorError) -> Self {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_mark_a_question_what_was_seen_and_what_to_do() {
        let check = Check {
            name: "sweep",
            asks: "what sleeps was planned again since RabbitMQ's last start",
            grade: Grade::Warn,
            evidence: "dormouse.swept has no mark".into(),
            from: "a queue",
            next: "a worker that may".into(),
        };
        assert_eq!(
            shown(&check),
            "warn   sweep: what sleeps was planned again since RabbitMQ's last start\n       dormouse.swept has no mark\n    do a worker that may"
        );
        let wide = Check { evidence: "word ".repeat(40), ..check };
        assert!(shown(&wide).lines().all(|line| line.chars().count() <= 80), "{}", shown(&wide));
    }
}
