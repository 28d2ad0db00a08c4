//! `dormouse topology plan`: what apply would do.

use std::time::Duration;

use crate::cli::paragraph::fold;
use crate::cli::table::{Table, left, print, print_json, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::{Config, durations};
use crate::operate::plan::{self, PlanError, TopologyPlan};
use crate::operate::{count, vhost_name};
use crate::topology::diff::{Crowded, Diff, Difference, OTHER_ARGUMENTS};
use crate::topology::leftover::Leftover;
use crate::topology::{Names, Queue, Topology};

pub async fn run(config: &Config, output: Output) -> Result<Exit, Failure> {
    let plan = plan::plan(config).await?;
    match output {
        Output::Table => show(&plan, config)?,
        Output::Json => print_json(&plan.document(config))?,
    }
    Ok(if plan.diff.is_empty() { Exit::Done } else { Exit::Differs })
}

fn show(plan: &TopologyPlan, config: &Config) -> Result<(), Failure> {
    let Diff { missing, different, .. } = &plan.diff;
    print(format!("{}\n", heading(config)))?;
    let mut table = Table::new([left("change"), left("object"), wide("name"), wide("with")]);
    for exchange in &missing.exchanges {
        let kind = exchange.kind.as_str().to_owned();
        table.row(["create".into(), "exchange".into(), exchange.name.clone(), kind]);
    }
    for queue in &missing.queues {
        table.row(["create".into(), "queue".into(), queue.name.clone(), ttl(queue)]);
    }
    let between = plan.bindings_between();
    for binding in &between {
        table.row(["create".into(), "binding".into(), binding.to_string(), String::new()]);
    }
    if !table.is_empty() {
        print(&table)?;
        if between.len() < missing.bindings.len() {
            print("and the bindings of what is new")?;
        }
        print("")?;
    }
    if !different.is_empty() {
        print(format!("{}\n", refused(different)))?;
    }
    show_end(plan, config)
}

fn show_end(plan: &TopologyPlan, config: &Config) -> Result<(), Failure> {
    let Diff { missing, different, .. } = &plan.diff;
    if let Some(error) = &plan.blind {
        say(&format!("Seen is only what exists, not arguments and bindings: {error}"))?;
    }
    show_leftovers(plan, config)?;
    if let Some(crowded) = &plan.crowded {
        say(&format!("Apply would be refused (406): {crowded}. To do: {}.", Crowded::ROOM))?;
    }
    if !different.is_empty() {
        say(&format!("Apply would be refused (406), since {OTHER_ARGUMENTS}."))
    } else if plan.diff.is_empty() {
        let stand = if plan.blind.is_some() { "exist" } else { "stand as they should" };
        say(&format!(
            "Nothing to do: {} {stand}. Policies and permissions: `dormouse topology verify`",
            amount(&plan.wanted)
        ))
    } else {
        say(&format!("To create: {}. `dormouse topology apply` does it.", amount(missing)))
    }
}

pub fn show_leftovers(plan: &TopologyPlan, config: &Config) -> Result<(), Failure> {
    for leftover in &plan.leftovers {
        say(&besides(leftover, config.topology.version))?;
    }
    let left = &plan.left_of_commands;
    if !left.is_empty() {
        say(&format!(
            "commands.enabled is false, and of commands stand {}. What is published there is confirmed, and decided \
             by nobody.",
            left.join(", ")
        ))?;
    }
    let left = &plan.left_of_ledger;
    if !left.is_empty() {
        say(&format!(
            "ledger.enabled is false, and of the ledger stand {}. Nothing is written there.",
            left.join(", ")
        ))?;
    }
    Ok(())
}

/// A line that says where we are.
pub fn heading(config: &Config) -> String {
    let names = Names::of(config);
    let layout = names.versioned();
    let layout = layout.trim_end_matches('.');
    let uri = &config.broker.uri[0];
    fold(&format!("Layout {layout} in virtual host {:?} at {uri}", vhost_name(config)), 2)
}

/// What stands with other arguments than a declare would give.
pub fn refused(different: &[Difference]) -> Table {
    let columns = [left("object"), wide("stands as"), wide("argument"), wide("is"), wide("wanted")];
    let mut table = Table::new(columns);
    for Difference { object, name, property, wanted, found } in different {
        let cells = [name.clone(), property.clone(), found.clone(), wanted.clone()];
        let [name, property, found, wanted] = cells;
        table.row([object.to_string(), name, property, found, wanted]);
    }
    table
}

/// What else of ours stands, and how to get rid of it.
fn besides(leftover: &Leftover, current: u32) -> String {
    let Leftover { version, queues, exchanges } = leftover;
    let of = if *version == current { "another layout of " } else { "" };
    let parts = parts([(queues.len(), "queue"), (exchanges.len(), "exchange")]);
    let from = if *version > current { format!(" --from {version}") } else { String::new() };
    format!(
        "Of {of}v{version} stand {parts} besides: `dormouse topology drain{from}` moves what sleeps \
         there and deletes them."
    )
}

/// `9 exchanges, 14 queues and 21 bindings`, without what there is none of.
pub fn amount(of: &Topology) -> String {
    let [exchanges, queues, bindings] = [of.exchanges.len(), of.queues.len(), of.bindings.len()];
    parts([(exchanges, "exchange"), (queues, "queue"), (bindings, "binding")])
}

fn parts<const N: usize>(parts: [(usize, &str); N]) -> String {
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let mut parts: Vec<_> = parts.map(|(number, noun)| count(number as u64, noun)).collect();
    let last = parts.pop().unwrap_or_else(|| "nothing".to_owned());
    if parts.is_empty() { last } else { format!("{} and {last}", parts.join(", ")) }
}

/// A sentence, broken at the width of a terminal.
pub fn say(sentence: &str) -> Result<(), Failure> {
    print(fold(sentence, 0))
}

fn ttl(queue: &Queue) -> String {
    let ttl_ms = queue.ttl_ms().and_then(|ttl_ms| u64::try_from(ttl_ms).ok());
    ttl_ms.map_or_else(String::new, |ttl_ms| {
        format!("TTL {}", durations::duration(Duration::from_millis(ttl_ms)))
    })
}

impl From<PlanError> for Failure {
    fn from(PlanError(error): PlanError) -> Self {
        error.into()
    }
}
