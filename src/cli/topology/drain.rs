//! `dormouse topology drain`: moves what sleeps in an older version or layout into the current one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::backlog::{self, Backlog, STATISTICS_AGE};
use super::look::{self, Api};
use super::plan::say;
use crate::amqp::Connection;
use crate::amqp::exists::Ask;
use crate::amqp::remove::Remove;
use crate::cli::run::stop_on_signal;
use crate::cli::table::{count, number, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::management::DestinationType;
use crate::topology::Topology;
use crate::topology::diff::{Diff, Leftover, Standing};
use crate::worker::Clock;
use crate::worker::mover::{Mover, MoverError, Speed, Stopped};

#[derive(Debug, Args)]
pub struct Drain {
    /// Only this version; by default every one up to the current that stands.
    #[arg(long, value_name = "VERSION")]
    from: Option<u32>,
    /// Leave the old queues and exchanges standing when they are empty.
    #[arg(long)]
    keep: bool,
}

/// Progress is told, and counters are looked at, this often.
const TICK: Duration = Duration::from_secs(1);

/// As fast as the broker goes.
const SPEED: Speed = Speed { rate: 0, window: 2_000 };

/// What the old layout consists of.
#[derive(Debug, Default)]
struct Old {
    queues: Vec<String>,
    exchanges: Vec<String>,
    versions: Vec<String>,
}

impl Drain {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let needed = |error| look::needed(&error, "cannot see which old queues stand");
        let api = Api::of(config).map_err(needed)?;
        let standing = api.standing().await.map_err(needed)?;
        let wanted = Topology::of(config);
        let old = self.old(config, &standing, &wanted);
        if old.queues.is_empty() && old.exchanges.is_empty() {
            return nothing(config, output);
        }
        if !Diff::of(&wanted, &standing).missing.is_empty() {
            let problem = format!(
                "the current layout, v{}, is not complete: `dormouse topology apply` first",
                config.topology.version
            );
            return Err(Failure::new(Exit::Differs, problem));
        }
        let stop = stop_on_signal()?;
        let consuming = Connection::open(&config.broker, "dormouse drain").await?;
        let publishing =
            Arc::new(Connection::open(&config.broker, "dormouse drain publish").await?);
        let moving =
            Mover::start(config, Clock::default(), (&consuming, &publishing), &old.queues, SPEED)
                .await?;
        let emptying = Emptying { api, connection: &consuming, old, moving, stop };
        let done = emptying.run(self.keep, config, output).await;
        consuming.close().await;
        publishing.close().await;
        done
    }

    fn old(&self, config: &Config, standing: &Standing, wanted: &Topology) -> Old {
        let mut old = Old::default();
        for Leftover { version, queues, exchanges } in
            standing.leftovers(wanted, &config.topology.namespace)
        {
            let chosen = match self.from {
                Some(from) => version == from,
                None => version <= config.topology.version,
            };
            if chosen {
                old.queues.extend(queues);
                old.exchanges.extend(exchanges);
                old.versions.push(format!("v{version}"));
            }
        }
        old.exchanges = standing.doors_first(&old.exchanges);
        old
    }
}

fn nothing(config: &Config, output: Output) -> Result<Exit, Failure> {
    match output {
        Output::Table => say(&format!(
            "Nothing to drain: no queue of another version or layout than v{} stands in virtual \
             host {:?}.",
            config.topology.version,
            look::vhost(config)
        ))?,
        Output::Json => {
            print_json(&json!({ "moved": 0, "to_dlq": 0, "deleted": Vec::<()>::new() }))?
        }
    }
    Ok(Exit::Done)
}

struct Emptying<'a> {
    api: Api,
    connection: &'a Connection,
    old: Old,
    moving: Mover,
    stop: CancellationToken,
}

impl Emptying<'_> {
    async fn run(mut self, keep: bool, config: &Config, output: Output) -> Result<Exit, Failure> {
        let from = self.old.versions.join(", ");
        eprintln!(
            "moving what sleeps in {from} ({}) into v{}; Ctrl-C stops, and loses nothing",
            count(self.old.queues.len() as u64, "queue"),
            config.topology.version
        );
        if !self.empty().await? || (!keep && !self.unbind().await?) {
            return self.interrupted().await;
        }
        let Stopped { moved, to_dlq, .. } = self.moving.stop().await?;
        let deleted = if keep { Vec::new() } else { delete(self.connection, &self.old).await? };
        match output {
            Output::Json => {
                print_json(&json!({ "moved": moved, "to_dlq": to_dlq, "deleted": deleted }))?;
            }
            Output::Table => {
                let moved = count(moved, "message");
                say(&format!("Moved {moved} from {from} into v{}.", config.topology.version))?;
                if to_dlq > 0 {
                    let of_these = number(to_dlq);
                    say(&format!("Of these {of_these} had no stamp of ours and went to the DLQ."))?;
                }
                if keep {
                    say(
                        "The old queues are empty and still stand: drain without --keep deletes them.",
                    )?;
                } else {
                    let queues = count(self.old.queues.len() as u64, "queue");
                    let exchanges = count(self.old.exchanges.len() as u64, "exchange");
                    say(&format!(
                        "Deleted {queues} and {exchanges}. Next: dormouse topology verify"
                    ))?;
                }
            }
        }
        Ok(Exit::Done)
    }

    /// Moves until all old queues were seen empty twice, so far apart that no message can have slipped
    /// from one queue to the next unseen. False if stopped.
    async fn empty(&mut self) -> Result<bool, Failure> {
        let mut told = String::new();
        let mut empty_since: Option<Instant> = None;
        loop {
            self.moving.work(TICK, &self.stop).await?;
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let backlogs = backlog::count(&self.api, self.connection, &self.old.queues).await?;
            let is_empty = backlogs.iter().all(Backlog::is_empty);
            if !is_empty || !self.moving.is_quiet_for(TICK) {
                empty_since = None;
                self.tell(&mut told, &to_go(&backlogs));
                continue;
            }
            let since = *empty_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= STATISTICS_AGE && self.moving.is_quiet_for(STATISTICS_AGE) {
                return Ok(true);
            }
            self.tell(&mut told, "empty; looking once more when RabbitMQ has counted again");
        }
    }

    /// Cuts the empty queues off, and waits a moment more for what somebody published just before.
    /// From then on the old exchanges send everything to parking, where a worker plans it again.
    async fn unbind(&mut self) -> Result<bool, Failure> {
        let needed = |error| look::needed(&error, "cannot see the bindings of the old queues");
        let standing = self.api.standing().await.map_err(needed)?;
        let remove = Remove::open(self.connection).await?;
        for binding in &standing.bindings {
            let to_old = binding.destination_type == DestinationType::Queue
                && self.old.queues.contains(&binding.destination);
            if to_old && !binding.source.is_empty() {
                let (queue, source) = (&binding.destination, &binding.source);
                let (key, arguments) = (&binding.routing_key, &binding.arguments);
                remove.queue_binding(queue, source, key, arguments).await?;
            }
        }
        loop {
            self.moving.work(TICK, &self.stop).await?;
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let mut ask = Ask::open(self.connection).await?;
            let mut ready = 0;
            for queue in &self.old.queues {
                ready += ask.queue(queue).await?.map_or(0, |depth| depth.ready);
            }
            if ready == 0 && self.moving.is_quiet_for(TICK) {
                return Ok(true);
            }
        }
    }

    fn tell(&self, told: &mut String, state: &str) {
        let line = format!("  {} moved; {state}", number(self.moving.moved()));
        if line != *told {
            eprintln!("{line}");
            *told = line;
        }
    }

    async fn interrupted(self) -> Result<Exit, Failure> {
        let Stopped { moved, unconfirmed, .. } = self.moving.stop().await?;
        let moved = count(moved, "message");
        let twice = match unconfirmed as u64 {
            0 => "Nothing was in flight".to_owned(),
            unconfirmed => {
                let messages = count(unconfirmed, "message");
                format!("{messages} in flight may now be in both, and be delivered twice")
            }
        };
        Err(Failure::failed(format!(
            "interrupted after {moved}. {twice}. The rest sleeps on where it was: drain again to go on"
        )))
    }
}

/// What the queues say now comes before what RabbitMQ counted some seconds ago.
fn to_go(backlogs: &[Backlog]) -> String {
    let ready: u64 = backlogs.iter().map(|backlog| backlog.ready_now).sum();
    let counted = |of: fn(&Backlog) -> Option<u64>| backlogs.iter().filter_map(of).sum::<u64>();
    if ready > 0 {
        return format!("{} ready", number(ready));
    }
    if !backlogs.iter().all(Backlog::is_known) {
        return "RabbitMQ has not counted yet".to_owned();
    }
    format!(
        "none ready; by the last count {} unacked, {} in dead-letter workers",
        number(counted(|backlog| backlog.unacked)),
        number(counted(|backlog| backlog.dead_letter_backlog))
    )
}

async fn delete(connection: &Connection, old: &Old) -> Result<Vec<String>, Failure> {
    let remove = Remove::open(connection).await?;
    for exchange in &old.exchanges {
        remove.exchange(exchange).await?;
    }
    for queue in &old.queues {
        remove.queue(queue).await?;
    }
    Ok(old.queues.iter().chain(&old.exchanges).cloned().collect())
}

impl From<MoverError> for Failure {
    fn from(error: MoverError) -> Self {
        match error {
            MoverError::Amqp(error) => error.into(),
            MoverError::Incomplete => {
                let problem = format!(
                    "{error}; what was not moved stays where it was. `dormouse topology apply`, then \
                     drain again"
                );
                Self::new(Exit::Differs, problem)
            }
        }
    }
}
