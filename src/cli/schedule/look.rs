//! `dormouse schedule list` and `dormouse schedule show`.

use clap::Args;
use dormouse_client::{Listed, RunShown, Shown};

use crate::cli::table::{Table, facts, print, print_json, right, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::schedules::{local, open, zone_of};

#[derive(Debug, Args)]
pub struct List {}

#[derive(Debug, Args)]
pub struct Show {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// How many of its next ticks to show.
    #[arg(long, short = 'n', default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=1000))]
    next: u16,
}

impl List {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (client, schedules) = open(config).await?;
        let listed = schedules.list().await?;
        drop(schedules);
        client.close().await;
        if output == Output::Json {
            print_json(&listed)?;
            return Ok(Exit::Done);
        }
        let Listed { schedules, zones, .. } = &listed;
        if schedules.is_empty() {
            print("There is no schedule.")?;
            return Ok(Exit::Done);
        }
        let mut table =
            Table::new([wide("schedule"), wide("when"), wide("zone"), right("runs"), wide("next")]);
        for shown in schedules {
            let definition = &shown.definition;
            let zone = zone_of(shown).to_owned();
            let name = definition.name.clone();
            table.row([name, shown.words.clone(), zone, shown.runs.to_string(), next(shown)]);
        }
        print(format!("{table}\n\nZones: {zones}."))?;
        Ok(Exit::Done)
    }
}

fn next(shown: &Shown) -> String {
    match (&shown.paused, shown.next_ms.first()) {
        _ if shown.unreadable => "its zone is not known".to_owned(),
        (Some(_), _) => "paused".to_owned(),
        (None, Some(next)) => local(*next, shown),
        (None, None) => "never".to_owned(),
    }
}

impl Show {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let (client, schedules) = open(config).await?;
        let shown = schedules.get(&self.name, self.next.into()).await?;
        drop(schedules);
        client.close().await;
        let Some(shown) = shown else {
            return Err(Failure::failed(format!("there is no schedule {:?}", self.name)));
        };
        if output == Output::Json {
            print_json(&shown)?;
            return Ok(Exit::Done);
        }
        print(told(&shown))?;
        Ok(Exit::Done)
    }
}

fn told(shown: &Shown) -> String {
    let definition = &shown.definition;
    let rule = definition.cron.as_ref().or(definition.every.as_ref()).cloned().unwrap_or_default();
    let mut all = vec![
        ("schedule", definition.name.clone()),
        ("when", format!("{} ({rule})", shown.words)),
        ("zone", zone_of(shown).to_owned()),
        ("target", definition.target.to_string()),
        ("revision", format!("{}, of {}", shown.revision, local(shown.changed_ms, shown))),
        ("runs", shown.runs.to_string()),
    ];
    if let Some(paused) = &shown.paused {
        let since = local(paused.since_ms, shown);
        all.push(("paused", format!("since {since} {}", paused.note).trim_end().to_owned()));
    }
    for made in shown.last.iter().rev() {
        let by_hand = if made.by_hand { ", by hand" } else { "" };
        all.push(("run", format!("{} at {}{by_hand}", made.run, local(made.tick_ms, shown))));
    }
    for RunShown { tick_ms, run, since_ms } in &shown.running {
        let (tick, since) = (local(*tick_ms, shown), local(*since_ms, shown));
        all.push(("not over", format!("{run} at {tick} (tick {tick_ms}), since {since}")));
    }
    all.extend(shown.waiting_ms.map(|tick| ("waits for it", local(tick, shown))));
    if let Some(last) = shown.last_skipped_ms.last() {
        all.push(("skipped", format!("{}, the last at {}", shown.skipped, local(*last, shown))));
    }
    all.extend(shown.next_ms.iter().map(|next| ("next", local(*next, shown))));
    all.retain(|(_, told)| !told.is_empty());
    facts(&all)
}
