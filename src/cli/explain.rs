//! `dormouse explain 2h30m`: the exact path of such a message. Asks no broker.

use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};

use super::table::{Table, count, facts, left, print, print_json, right};
use super::{Exit, Failure, Output};
use crate::config::{Config, words};
use crate::schedule::{Layout, Plan, UnixMs};
use crate::topology::{Names, layout};
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Explain {
    /// The delay, such as 90s or 2h30m; 0 for none.
    #[arg(value_name = "DELAY", value_parser = delay, required_unless_present = "at")]
    delay: Option<Duration>,
    /// When it is due, as RFC 3339, if it were published now.
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    at: Option<jiff::Timestamp>,
}

const HELP: &str = "\
The path follows from the configuration alone; no broker is asked. A message
that fails makes further rounds through the same queues.";

/// Zero needs no unit.
fn delay(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" { Ok(Duration::ZERO) } else { words::parse_duration(text) }
}

impl Explain {
    pub fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let now = Clock::default().now();
        let delay = match (self.at, self.delay) {
            (Some(at), _) => UnixMs(u64::try_from(at.as_millisecond()).unwrap_or(0)).since(now),
            (None, delay) => delay.unwrap_or_default(),
        };
        // due times are whole milliseconds
        let delay = Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        let max = config.topology.max_delay;
        if delay > max {
            let (delay, max) = (words::duration(delay), words::duration(max));
            return Err(Failure::usage(format!(
                "{delay} is longer than the longest delay, topology.max_delay = {max}: \
                 such a message goes to the DLQ as delay-too-long"
            )));
        }
        let path = Path::of(config, delay);
        match output {
            Output::Json => print_json(&path.document())?,
            Output::Table => print(path.screen())?,
        }
        Ok(Exit::Done)
    }
}

/// The way of a message from its publish to its target.
struct Path {
    delay: Duration,
    delay_exchange: String,
    target_exchange: String,
    intake: String,
    due: String,
    plan: Plan,
    /// Where the worker publishes it: exchange, first key, and the keys that travel in `CC`.
    entry: String,
    keys: Vec<String>,
    sleeps: Vec<Sleep>,
}

/// A level queue on the way.
struct Sleep {
    queue: String,
    ttl: Duration,
    /// When it comes there, counted from the publish.
    from: Duration,
}

impl Path {
    fn of(config: &Config, delay: Duration) -> Self {
        let (layout, names) = (layout(config), Names::of(config));
        let plan = layout.plan(delay);
        let delay_exchange = &config.delay_exchanges[0];
        Self {
            delay,
            delay_exchange: delay_exchange.name.clone(),
            target_exchange: delay_exchange.target_exchange.clone(),
            intake: names.intake(delay_exchange),
            due: names.due(),
            plan,
            entry: names.entry(&layout, plan.entry),
            keys: layout.path(plan).map(|(_, key)| key.to_owned()).collect(),
            sleeps: sleeps(&layout, &names, plan),
        }
    }

    fn screen(&self) -> String {
        let (first, rest) = match self.keys.split_first() {
            Some((first, rest)) => (first.as_str(), rest.join(", ")),
            None => ("(none)", String::new()),
        };
        let mut about = vec![
            ("delay", words::duration(self.delay)),
            ("published to", format!("exchange {}", self.delay_exchange)),
            ("planned into", format!("exchange {}", self.entry)),
            ("routing key", first.to_owned()),
        ];
        if !rest.is_empty() {
            about.push(("CC", rest));
        }
        about.push(("hops", count(self.plan.hops.into(), "level queue")));
        about.push(("asleep", words::duration(self.plan.asleep)));
        about.push(("held", format!("{} in a worker, unacked", words::duration(self.plan.held))));
        format!("{}\n\n{}", facts(&about), self.table())
    }

    fn table(&self) -> Table {
        let mut table = Table::new([right("after"), left("in"), right("for")]);
        let at = words::duration;
        table.row([at(Duration::ZERO), self.intake.clone(), "until planned".into()]);
        for Sleep { queue, ttl, from } in &self.sleeps {
            table.row([at(*from), queue.clone(), at(*ttl)]);
        }
        table.row([at(self.plan.asleep), self.due.clone(), at(self.plan.held)]);
        let target = if self.target_exchange.is_empty() {
            "the queue that its routing key names".to_owned()
        } else {
            format!("exchange {}, with its routing key", self.target_exchange)
        };
        table.row([at(self.delay), target, String::new()]);
        table
    }

    fn document(&self) -> Json {
        let sleeps = self.sleeps.iter().map(|Sleep { queue, ttl, from }| {
            json!({ "queue": queue, "after_ms": ms(*from), "ttl_ms": ms(*ttl) })
        });
        json!({
            "delay_ms": ms(self.delay),
            "delay_exchange": self.delay_exchange,
            "intake_queue": self.intake,
            "entry": {
                "exchange": self.entry,
                "routing_key": self.keys.first(),
                "cc": self.keys.iter().skip(1).collect::<Vec<_>>(),
            },
            "hops": self.plan.hops,
            "levels": sleeps.collect::<Vec<_>>(),
            "asleep_ms": ms(self.plan.asleep),
            "due_queue": self.due,
            "held_ms": ms(self.plan.held),
            "target_exchange": self.target_exchange,
        })
    }
}

fn sleeps(layout: &Layout, names: &Names, plan: Plan) -> Vec<Sleep> {
    let mut from = Duration::ZERO;
    let mut sleeps = Vec::new();
    for (level, key) in layout.path(plan) {
        // digit 0 passes on from exchange to exchange
        let queue = (1..).zip(level.queues()).find(|(_, (_, of_queue))| *of_queue == key);
        if let Some((digit, (ttl, _))) = queue {
            sleeps.push(Sleep { queue: names.level_queue(level, digit), ttl, from });
            from += ttl;
        }
    }
    sleeps
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
