//! `dormouse topology destroy`: deletes everything of ours in the virtual host.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use serde_json::json;

use super::backlog::{self, Backlog, STATISTICS_AGE};
use super::look::{self, Api};
use super::plan::say;
use crate::amqp::Connection;
use crate::amqp::declare::declare;
use crate::amqp::remove::Remove;
use crate::cli::table::{count, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::management::QueueInfo;
use crate::topology::diff::{Standing, is_ours};
use crate::topology::enable::DEAD_LETTER_EXCHANGE;
use crate::topology::{Binding, Destination, Exchange, Names, Topology};

#[derive(Debug, Args)]
pub struct Destroy {
    /// Delete messages that still sleep there, and do not mind workers that run.
    #[arg(long)]
    force: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

const ALTERNATE: &str = "alternate-exchange";

/// Everything of ours that stands.
struct Ours {
    /// They let messages in, and go first.
    delay_exchanges: Vec<String>,
    exchanges: Vec<String>,
    queues: Vec<String>,
}

impl Destroy {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let needed =
            |error| look::needed(&error, "cannot count what sleeps, so nothing is deleted");
        let api = Api::of(config).map_err(needed)?;
        let standing = api.standing().await.map_err(needed)?;
        let ours = Ours::of(config, &standing);
        if ours.is_empty() {
            return nothing(config, output);
        }
        let connection = Connection::open(&config.broker, "dormouse topology").await?;
        let with_messages = ours.with_messages(config);
        let mut counted = backlog::count(&api, &connection, &with_messages).await?;
        if !self.force {
            refuse_if_retried(config, &standing)?;
            refuse_if_used(&counted, config)?;
            refuse_if_not_empty(&counted, output)?;
        }
        if !self.yes {
            ask(config, &ours, &counted)?;
        }
        // a publisher sees that at once, by a closed channel: unbound, an exchange would drop what is
        // published to it, and confirm it
        let remove = Remove::open(&connection).await?;
        for exchange in &ours.delay_exchanges {
            remove.exchange(exchange).await?;
        }
        if !self.force {
            tokio::time::sleep(STATISTICS_AGE).await;
            counted = backlog::count(&api, &connection, &with_messages).await?;
            let empty = refuse_if_not_empty(&counted, output);
            if let Err(refusal) = empty {
                restore(&connection, &standing, &ours).await?;
                return Err(refusal);
            }
        }
        // the same for every other: none is left that leads to what is gone
        for exchange in &standing.doors_first(&ours.exchanges) {
            remove.exchange(exchange).await?;
        }
        for queue in &ours.queues {
            remove.queue(queue).await?;
        }
        connection.close().await;
        report(&ours, backlog::total(&counted), output)
    }
}

impl Ours {
    fn of(config: &Config, standing: &Standing) -> Self {
        let wanted = Topology::of(config);
        let namespace = &config.topology.namespace;
        let expired = format!("{namespace}.expired");
        let configured: BTreeSet<&str> =
            config.delay_exchanges.iter().map(|delay| delay.name.as_str()).collect();
        let mut ours =
            Self { delay_exchanges: Vec::new(), exchanges: Vec::new(), queues: Vec::new() };
        for found in &standing.exchanges {
            let alternate = found.arguments.get(ALTERNATE).and_then(|name| name.as_str());
            // one that is no longer configured is told by where its strays go
            let is_delay = configured.contains(found.name.as_str())
                || found.kind == "topic" && alternate.is_some_and(|to| to.starts_with(&expired));
            if is_delay {
                ours.delay_exchanges.push(found.name.clone());
            } else if wanted.has_exchange(&found.name) || is_ours(namespace, &found.name) {
                ours.exchanges.push(found.name.clone());
            }
        }
        let queues = standing.queues.iter().map(|queue| &queue.name);
        let names = Names::of(config);
        let is_ours = |name: &&String| {
            wanted.has_queue(name) || is_ours(namespace, name) || names.is_of_workers(name)
        };
        ours.queues = queues.filter(is_ours).cloned().collect();
        ours
    }

    /// All but marks and notes, which are nobody's messages.
    fn with_messages(&self, config: &Config) -> Vec<String> {
        let names = Names::of(config);
        self.queues.iter().filter(|queue| !names.is_of_workers(queue)).cloned().collect()
    }

    fn is_empty(&self) -> bool {
        self.delay_exchanges.is_empty() && self.exchanges.is_empty() && self.queues.is_empty()
    }

    fn amount(&self) -> String {
        let exchanges = (self.delay_exchanges.len() + self.exchanges.len()) as u64;
        let queues = count(self.queues.len() as u64, "queue");
        format!("{queues} and {}", count(exchanges, "exchange"))
    }
}

/// A running worker would declare everything again, or hold what is to be deleted.
fn refuse_if_used(counted: &[Backlog], config: &Config) -> Result<(), Failure> {
    let due = Names::of(config).due();
    let readers = |backlog: &&Backlog| backlog.consumers > 0;
    let used = counted.iter().filter(readers).find(|backlog| backlog.queue == due);
    match used.or_else(|| counted.iter().find(readers)) {
        None => Ok(()),
        Some(Backlog { queue, consumers, .. }) => {
            let readers = count(*consumers, "consumer");
            let problem = format!("{queue} has {readers}: stop the workers first, or say --force");
            Err(Failure::new(Exit::Refused, problem))
        }
    }
}

/// A queue that dead-letters to an exchange that is gone drops what its consumer rejects.
fn refuse_if_retried(config: &Config, standing: &Standing) -> Result<(), Failure> {
    const NAMED: usize = 3;
    let retry = Names::of(config).retry();
    let is_retry = |exchange: Option<&serde_json::Value>| exchange.is_some_and(|to| *to == retry);
    let retried = |queue: &&QueueInfo| {
        let by_policy = queue.effective_policy.as_ref();
        is_retry(queue.arguments.get("x-dead-letter-exchange"))
            || is_retry(by_policy.and_then(|policy| policy.get(DEAD_LETTER_EXCHANGE)))
    };
    let mut queues: Vec<_> =
        standing.queues.iter().filter(retried).map(|queue| queue.name.clone()).collect();
    if queues.is_empty() {
        return Ok(());
    }
    let more = queues.len().saturating_sub(NAMED);
    queues.truncate(NAMED);
    let and_more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let problem = format!(
        "{}{and_more} would drop what consumers reject, since {retry} is where it goes: first \
         `dormouse retry disable` each, or declare it without that dead-letter exchange, or say --force",
        queues.join(", ")
    );
    Err(Failure::new(Exit::Refused, problem))
}

fn refuse_if_not_empty(counted: &[Backlog], output: Output) -> Result<(), Failure> {
    if counted.iter().all(Backlog::is_empty) {
        return Ok(());
    }
    backlog::print(counted, output)?;
    let unknown = counted.iter().any(|backlog| !backlog.is_known());
    let problem = match backlog::total(counted) {
        0 if unknown => {
            "RabbitMQ has not counted yet what is in some queues: try again in 10 s, or \
                         say --force"
                .to_owned()
        }
        total => format!(
            "{} would be lost, so nothing is deleted: deliver or drain them first, or say --force",
            count(total, "message")
        ),
    };
    Err(Failure::new(Exit::Refused, problem))
}

fn ask(config: &Config, ours: &Ours, counted: &[Backlog]) -> Result<(), Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::usage(
            "this deletes the topology; say --yes to do so without being asked",
        ));
    }
    let vhost = look::vhost(config);
    let messages = count(backlog::total(counted), "message");
    eprintln!("This deletes {} in virtual host {vhost:?}, with {messages} in them.", ours.amount());
    eprint!("Type the name of the virtual host to go on: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    if answer.trim() == vhost {
        Ok(())
    } else {
        Err(Failure::new(Exit::Refused, "not confirmed; nothing is deleted"))
    }
}

/// Builds the delay exchanges again as they stood, with all of their bindings, those of others
/// included.
async fn restore(connection: &Connection, standing: &Standing, ours: &Ours) -> Result<(), Failure> {
    let was = |name: &str| ours.delay_exchanges.iter().any(|exchange| exchange == name);
    let stood = standing.exchanges.iter().filter(|found| was(&found.name));
    let exchanges = stood.map(Exchange::from).collect();
    declare(connection, &Topology { exchanges, ..Topology::default() }).await?;
    let remove = Remove::open(connection).await?;
    for found in &standing.bindings {
        let binding = Binding::from(found);
        let to_delay = matches!(&binding.destination, Destination::Exchange(name) if was(name));
        if was(&binding.source) || to_delay {
            remove.bind(&binding, &found.arguments).await?;
        }
    }
    eprintln!("messages came in while the delay exchanges were gone; they are back, as they were");
    Ok(())
}

fn nothing(config: &Config, output: Output) -> Result<Exit, Failure> {
    match output {
        Output::Table => {
            let vhost = look::vhost(config);
            say(&format!("Nothing to delete: nothing of ours stands in virtual host {vhost:?}."))?;
        }
        Output::Json => print_json(&json!({ "deleted": Vec::<()>::new(), "messages_lost": 0 }))?,
    }
    Ok(Exit::Done)
}

fn report(ours: &Ours, lost: u64, output: Output) -> Result<Exit, Failure> {
    match output {
        Output::Table => {
            say(&format!("Deleted {}, with {} in them.", ours.amount(), count(lost, "message")))?;
            say(
                "Publishers to the delay exchanges now get 404; a worker that starts builds all anew.",
            )?;
        }
        Output::Json => {
            let Ours { delay_exchanges, exchanges, queues } = ours;
            let deleted: Vec<_> = delay_exchanges.iter().chain(exchanges).chain(queues).collect();
            print_json(&json!({ "deleted": deleted, "messages_lost": lost }))?;
        }
    }
    Ok(Exit::Done)
}
