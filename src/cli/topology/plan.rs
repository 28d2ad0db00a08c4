//! `dormouse topology plan`: what apply would do.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::look::{self, Api};
use crate::amqp::Connection;
use crate::amqp::exists::Ask;
use crate::cli::table::{Table, count, fold, left, print, print_json, wide};
use crate::cli::{Exit, Failure, Output};
use crate::config::{Config, words};
use crate::management::ManagementError;
use crate::topology::diff::{Crowded, Diff, Difference, Leftover, OTHER_ARGUMENTS};
use crate::topology::{Binding, Names, Queue, Topology};

/// What apply would do, and how much of it could be seen.
pub struct Plan {
    pub wanted: Topology,
    pub diff: Diff,
    leftovers: Vec<Leftover>,
    /// Why only existence could be seen.
    pub blind: Option<ManagementError>,
    crowded: Option<Crowded>,
}

pub async fn run(config: &Config, output: Output) -> Result<Exit, Failure> {
    let plan = Plan::look(config).await?;
    match output {
        Output::Table => plan.print(config)?,
        Output::Json => print_json(&plan.document(config))?,
    }
    Ok(if plan.diff.is_empty() { Exit::Done } else { Exit::Differs })
}

impl Plan {
    /// Compares through the management API, or sees over AMQP what exists at least.
    pub async fn look(config: &Config) -> Result<Self, Failure> {
        let wanted = Topology::of(config);
        let looked = match Api::of(config) {
            Ok(api) => api.standing().await.map(|standing| (api, standing)),
            Err(error) => Err(error),
        };
        match looked {
            Ok((api, standing)) => {
                let diff = Diff::of(&wanted, &standing);
                // who may not see it learns so from verify
                let max_queues = api.management().max_queues(&api.vhost).await.unwrap_or(None);
                Ok(Self {
                    crowded: Crowded::of(max_queues, &standing, &diff.missing, &Names::of(config)),
                    leftovers: standing.leftovers(&wanted, &config.topology.namespace),
                    blind: None,
                    diff,
                    wanted,
                })
            }
            Err(error) => {
                let connection = Connection::open(&config.broker, "dormouse topology").await?;
                let missing = Ask::open(&connection).await?.missing(&wanted).await?;
                connection.close().await;
                let diff = Diff { missing, different: Vec::new(), foreign: Vec::new() };
                Ok(Self { wanted, diff, leftovers: Vec::new(), blind: Some(error), crowded: None })
            }
        }
    }

    fn print(&self, config: &Config) -> Result<(), Failure> {
        let Diff { missing, different, .. } = &self.diff;
        print(format!("{}\n", heading(config)))?;
        let mut table = Table::new([left("change"), left("object"), wide("name"), wide("with")]);
        for exchange in &missing.exchanges {
            let kind = exchange.kind.as_str().to_owned();
            table.row(["create".into(), "exchange".into(), exchange.name.clone(), kind]);
        }
        for queue in &missing.queues {
            table.row(["create".into(), "queue".into(), queue.name.clone(), ttl(queue)]);
        }
        let between = self.bindings_between();
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
        self.print_end(config)
    }

    fn print_end(&self, config: &Config) -> Result<(), Failure> {
        let Diff { missing, different, .. } = &self.diff;
        if let Some(error) = &self.blind {
            say(&format!("Seen is only what exists, not arguments and bindings: {error}"))?;
        }
        self.print_leftovers(config)?;
        if let Some(crowded) = &self.crowded {
            say(&format!("Apply would be refused (406): {crowded}. To do: {}.", Crowded::ROOM))?;
        }
        if !different.is_empty() {
            say(&format!("Apply would be refused (406), since {OTHER_ARGUMENTS}."))?;
        } else if self.diff.is_empty() {
            let stand = if self.blind.is_some() { "exist" } else { "stand as they should" };
            say(&format!(
                "Nothing to do: {} {stand}. Policies and permissions: `dormouse topology verify`",
                amount(&self.wanted)
            ))?;
        } else {
            say(&format!("To create: {}. `dormouse topology apply` does it.", amount(missing)))?;
        }
        Ok(())
    }

    pub fn print_leftovers(&self, config: &Config) -> Result<(), Failure> {
        for leftover in &self.leftovers {
            say(&besides(leftover, config.topology.version))?;
        }
        Ok(())
    }

    /// Missing bindings between what stands: those of something new go without saying.
    fn bindings_between(&self) -> Vec<&Binding> {
        let missing = &self.diff.missing;
        let is_new = |name: &str| missing.has_exchange(name) || missing.has_queue(name);
        let new = |binding: &Binding| is_new(&binding.source) || is_new(binding.destination.name());
        missing.bindings.iter().filter(|binding| !new(binding)).collect()
    }

    fn document(&self, config: &Config) -> impl Serialize {
        let Diff { missing, different, foreign } = &self.diff;
        let foreign: Vec<_> = foreign.iter().map(binding_json).collect();
        json!({
            "vhost": look::vhost(config),
            "create": created_json(missing),
            "refused": different,
            "foreign_bindings": foreign,
            "leftovers": self.leftovers,
            "crowded": self.crowded,
            "unseen": self.blind.as_ref().map(|error| format!("arguments and bindings: {error}")),
        })
    }
}

/// Names of what is created, as programs get it.
pub fn created_json(missing: &Topology) -> serde_json::Value {
    json!({
        "exchanges": missing.exchanges.iter().map(|exchange| &exchange.name).collect::<Vec<_>>(),
        "queues": missing.queues.iter().map(|queue| &queue.name).collect::<Vec<_>>(),
        "bindings": missing.bindings.iter().map(binding_json).collect::<Vec<_>>(),
    })
}

fn binding_json(binding: &Binding) -> serde_json::Value {
    json!({
        "source": binding.source,
        "destination": binding.destination.name(),
        "routing_key": binding.routing_key,
    })
}

/// A line that says where we are.
pub fn heading(config: &Config) -> String {
    let names = crate::topology::Names::of(config);
    let layout = names.versioned();
    let layout = layout.trim_end_matches('.');
    let uri = &config.broker.uri[0];
    fold(&format!("Layout {layout} in virtual host {:?} at {uri}", look::vhost(config)), 2)
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
        format!("TTL {}", words::duration(Duration::from_millis(ttl_ms)))
    })
}
