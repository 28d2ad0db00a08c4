//! The profile `schedules`: what the bench tells of it.

use std::time::Duration;

use dormouse::cli::table::{Table, facts, left, print, print_json, right};
use dormouse::cli::{Exit, Failure, Output};
use dormouse::config::Config;
use dormouse::operate::number;

use super::hired::{Hired, ended, new_name};
use crate::bench::{Environment, ScheduleFlow, Scheduled, ScheduledError, Ticked};

/// With a worker that takes commands: so many schedules, of which so many fire at one moment in the end; ticks are measured for
/// so long.
pub async fn run(
    config: &Config,
    hired: &Hired,
    (schedules, burst, length): (u64, u64, Duration),
    output: Output,
) -> Result<Exit, Failure> {
    let Hired { program, arguments } = hired;
    let mut environment =
        Environment::own(config, &new_name(), program, &[arguments.as_slice()]).await?;
    let flow = ScheduleFlow { schedules: schedules as usize, burst: burst as usize, length };
    let scheduled = flow.run(&mut environment, program, arguments).await;
    ended(environment, scheduled.map_err(Failure::from), |scheduled| {
        match output {
            Output::Json => print_json(&scheduled)?,
            Output::Table => print(screen(&scheduled))?,
        }
        let is_good = scheduled.steady.is_good() && scheduled.burst.is_good();
        Ok(if is_good { Exit::Done } else { Exit::Differs })
    })
    .await
}

fn screen(scheduled: &Scheduled) -> String {
    let Scheduled { schedules, apply_seconds, apply_again_seconds, start, .. } = scheduled;
    let mib = |bytes: Option<u64>| match bytes {
        Some(bytes) => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        None => "unknown".to_owned(),
    };
    let memory = &scheduled.memory_bytes;
    let cores = scheduled.steady_cores.map_or("unknown".to_owned(), |it| format!("{it:.2} cores"));
    let about = facts(&[
        (
            "apply",
            format!(
                "{} schedules in {apply_seconds:.1} s; the same again in {apply_again_seconds:.1} s",
                number(*schedules as u64)
            ),
        ),
        (
            "memory",
            format!(
                "{} without, {} with them, {} after the ticks, {} of the next worker",
                mib(memory.before),
                mib(memory.applied),
                mib(memory.ticked),
                mib(memory.next_worker)
            ),
        ),
        (
            "start",
            format!(
                "ready after {:.2} s, decides and knows all of them after {:.2} s",
                start.ready_seconds, start.decides_seconds
            ),
        ),
        ("steady", format!("{:.0} ticks/s by {cores} of the worker", scheduled.steady_per_second)),
        (
            "burst",
            format!(
                "{} due at one moment: the first after {:.1} ms, the last after {:.1} ms",
                number(scheduled.burst.wanted as u64),
                scheduled.burst.first_ms,
                scheduled.burst.last_ms
            ),
        ),
    ]);
    format!("{about}\n\n{}", lateness([("steady", &scheduled.steady), ("burst", &scheduled.burst)]))
}

fn lateness(measured: [(&str, &Ticked); 2]) -> Table {
    let heads = ["ticks", "wanted", "p50", "p99", "max", "early", "lost", "twice"];
    let mut table =
        Table::new(heads.map(|head| if head == "ticks" { left(head) } else { right(head) }));
    for (what, ticked) in measured {
        let Ticked { wanted, early, lost, twice, lateness_ms: late, .. } = ticked;
        table.row([
            what.to_owned(),
            number(*wanted as u64),
            format!("{:.1} ms", late.p50),
            format!("{:.1} ms", late.p99),
            format!("{:.1} ms", late.max),
            number(*early),
            number(*lost as u64),
            number(*twice as u64),
        ]);
    }
    table
}

impl From<ScheduledError> for Failure {
    fn from(error: ScheduledError) -> Self {
        match error {
            ScheduledError::Environment(error) => error.into(),
            ScheduledError::Amqp(error) => error.into(),
            error @ (ScheduledError::Client(_)
            | ScheduledError::Schedule(_)
            | ScheduledError::NotApplied { .. }
            | ScheduledError::Gone { .. }
            | ScheduledError::TooSlow(_)) => Self::failed(error.to_string()),
        }
    }
}
