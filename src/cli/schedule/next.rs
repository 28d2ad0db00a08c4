//! `dormouse schedule next`.

use std::path::Path;

use clap::Args;
use dormouse_core::recurring::{Schedule, fault};
use serde_json::json;

use crate::cli::table::{Table, print, print_json, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::When;
use crate::operate::schedules::{in_zone, open, read};
use crate::schedule::UnixMs;
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Next {
    /// A schedule, or a file: of each in it, without RabbitMQ.
    #[arg(value_name = "NAME|FILE.toml")]
    of: String,
    /// How many of each.
    #[arg(long, short = 'n', default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// After that, as RFC 3339; now if it is absent.
    #[arg(long, value_name = "TIME")]
    from: Option<jiff::Timestamp>,
    /// Not after that, as RFC 3339.
    #[arg(long, value_name = "TIME")]
    to: Option<jiff::Timestamp>,
}

const HELP: &str = "\
Reckoned here, by the zones that this machine knows: a registrar with other ones
may fire otherwise. dormouse schedule show tells what the registrar says.";

impl Next {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let schedules = self.schedules(config).await?;
        let now = Clock::default().now();
        let ms = |time: Option<jiff::Timestamp>| time.map(|time| When::At(time).due(now));
        let (from, to) = (ms(self.from).unwrap_or(now), ms(self.to));
        let ticks = |schedule: &Schedule| -> Vec<UnixMs> {
            let all = schedule.timing.after(from).take(self.count.into());
            all.take_while(|tick| to.is_none_or(|to| *tick <= to)).collect()
        };
        if output == Output::Json {
            let all: Vec<_> = schedules
                .iter()
                .map(|schedule| json!({ "name": schedule.name(), "next_ms": ticks(schedule) }))
                .collect();
            print_json(&json!({ "schedules": all }))?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new([wide("schedule"), wide("fires"), wide("in UTC")]);
        for schedule in &schedules {
            for tick in ticks(schedule) {
                let fires = in_zone(tick, schedule.timing.zone.clone());
                table.row([schedule.name().to_owned(), fires, tick.to_string()]);
            }
        }
        match table.is_empty() {
            true => print("Nothing fires then.")?,
            false => print(&table)?,
        }
        Ok(Exit::Done)
    }

    async fn schedules(&self, config: &Config) -> Result<Vec<Schedule>, Failure> {
        if self.of.ends_with(".toml") {
            let wrong = |error: String| Failure::usage(format!("{}: {error}", self.of));
            let text = std::fs::read_to_string(Path::new(&self.of));
            let text = text.map_err(|error| wrong(error.to_string()))?;
            return Ok(read(&text).map_err(|error| wrong(error.to_string()))?.schedules);
        }
        let (client, schedules) = open(config).await?;
        let shown = schedules.get(&self.of, 0).await?;
        drop(schedules);
        client.close().await;
        let none = || Failure::failed(format!("there is no schedule {:?}", self.of));
        let schedule = Schedule::new(shown.ok_or_else(none)?.definition);
        Ok(vec![schedule.map_err(|faults| Failure::failed(fault::in_words(&faults)))?])
    }
}
