//! `dormouse dlq redrive`: back into the cascade, as first published, with a new due time.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::select::{Which, by_ids};
use super::{Entry, Look};
use crate::amqp::{Closed, Connection, Isolating, Outcome};
use crate::cli::table::{count, number, print, print_json};
use crate::cli::{Exit, Failure, Output};
use crate::config::{Config, words};
use crate::message::Message;
use crate::schedule::{Layout, Sleeper, UnixMs};
use crate::topology::{Names, layout};
use crate::worker::Clock;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Redrive {
    #[command(flatten)]
    which: Which,
    /// When it is due, as RFC 3339; without --at and --in it is due now.
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    at: Option<jiff::Timestamp>,
    /// In how long it is due, such as 90s or 2h30m.
    #[arg(long = "in", value_name = "DURATION", value_parser = words::parse_duration)]
    after: Option<Duration>,
    /// Also messages that had headers left out for want of room; those headers are lost.
    #[arg(long)]
    incomplete: bool,
}

const HELP: &str = "\
A message goes to its first exchange and routing key with its body, headers and
properties as published, and with all its attempts before it. A delay that was
malformed or too long is replaced by the due time given here.

A message leaves the DLQ some time after the cascade has confirmed it. A crash
in between, or a confirm that does not come, leaves up to 1,000 messages in
both: they may arrive twice, but none is lost. What Dormouse did not put there
is refused and stays.";

/// Publishes outstanding.
const WINDOW: usize = 500;

const CLOSING: Duration = Duration::from_secs(3);

impl Redrive {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let due = self.due(Clock::default().now(), config.topology.max_delay)?;
        let mut look = Look::begin(config).await?;
        // apart, because an alarm blocks publishing connections and must not block giving back
        let publishing = match Connection::open(&config.broker, "dormouse dlq redrive").await {
            Ok(publishing) => Arc::new(publishing),
            Err(error) => {
                look.end().await?;
                return Err(error.into());
            }
        };
        let mut work = Work {
            way: Way { layout: layout(config), names: Names::of(config), due },
            confirm_timeout: config.delivery.confirm_timeout,
            incomplete: self.incomplete,
            publisher: Isolating::open(publishing.clone()).await?,
            redriven: 0,
            left: Vec::new(),
            stopped: false,
        };
        let worked = work.all(&mut look, &self.which).await;
        let ended = look.end().await;
        // a blocked connection does not answer
        let _ = tokio::time::timeout(CLOSING, publishing.close()).await;
        if let Err(failure) = worked.and(ended) {
            if work.redriven > 0 {
                let redriven = count(work.redriven, "message");
                eprintln!("dormouse: {redriven} redriven, which may be in the DLQ, too");
            }
            return Err(failure);
        }
        report(&work, output)
    }

    fn due(&self, now: UnixMs, max: Duration) -> Result<UnixMs, Failure> {
        let due = match (self.at, self.after) {
            (Some(at), _) => UnixMs(u64::try_from(at.as_millisecond()).unwrap_or(0)),
            (None, Some(after)) => now.plus(after),
            (None, None) => now,
        };
        if due.since(now) > max {
            let max = words::duration(max);
            return Err(Failure::usage(format!(
                "due {due} is further away than topology.max_delay = {max}"
            )));
        }
        Ok(due)
    }
}

/// Where messages go, and until when.
struct Way {
    layout: Layout,
    names: Names,
    due: UnixMs,
}

impl Way {
    fn message(&self, sleeper: &Sleeper) -> Message {
        let plan = self.layout.plan(self.due.since(Clock::default().now()));
        self.names.entering(&self.layout, plan, sleeper)
    }
}

struct Work {
    way: Way,
    confirm_timeout: Duration,
    incomplete: bool,
    publisher: Isolating<Ticket>,
    redriven: u64,
    /// What stays in the DLQ though it was asked for, and why.
    left: Vec<(String, String)>,
    /// Whether it ended before it had tried all.
    stopped: bool,
}

struct Ticket {
    tag: u64,
    id: String,
    sleeper: Sleeper,
}

impl Work {
    async fn all(&mut self, look: &mut Look, which: &Which) -> Result<(), Failure> {
        if which.ids.is_empty() {
            while let Some(entry) = look.next().await? {
                let is_chosen = which.reason.is_none_or(|cause| cause.is_of(&entry));
                if is_chosen && !self.take(look, entry).await? {
                    self.stopped = true;
                    break;
                }
            }
        } else {
            for entry in by_ids(look, &which.ids).await? {
                if !self.take(look, entry).await? {
                    self.stopped = true;
                    break;
                }
            }
        }
        self.settle(look, 0).await?;
        Ok(())
    }

    /// Publishes one; false if nothing more can be published.
    async fn take(&mut self, look: &mut Look, entry: Entry) -> Result<bool, Failure> {
        let Entry { tag, id, sleeper, dropped, .. } = entry;
        let Some(mut sleeper) = sleeper else {
            self.left.push((
                id,
                "Dormouse did not put it there, so it has nowhere to go back to".into(),
            ));
            return Ok(true);
        };
        if let Some(dropped) = dropped.filter(|_| !self.incomplete) {
            self.left.push((
                id,
                format!("its headers {dropped} were left out; --incomplete sends it without them"),
            ));
            return Ok(true);
        }
        sleeper.revive(self.way.due);
        let message = self.way.message(&sleeper);
        self.publisher.publish(message, Ticket { tag, id, sleeper });
        self.settle(look, WINDOW).await
    }

    /// Waits until at most `outstanding` publishes are not settled, and removes from the DLQ what the
    /// cascade has confirmed.
    async fn settle(&mut self, look: &mut Look, outstanding: usize) -> Result<bool, Failure> {
        while self.publisher.len() > outstanding {
            let Ok(settled) =
                tokio::time::timeout(self.confirm_timeout, self.publisher.settled()).await
            else {
                let seconds = self.confirm_timeout.as_secs_f64();
                for Ticket { id, .. } in self.publisher.give_up() {
                    self.left.push((
                        id,
                        format!("not confirmed within {seconds} s; it may arrive all the same"),
                    ));
                }
                return Ok(false);
            };
            for (Ticket { tag, id, .. }, outcome) in settled {
                let why = match outcome {
                    Outcome::Confirmed => {
                        look.browse.remove(tag);
                        self.redriven += 1;
                        continue;
                    }
                    Outcome::Returned { code, text } => {
                        format!("returned: {code} {text}; `dormouse topology verify` tells more")
                    }
                    Outcome::Nacked => "a level queue rejected it".into(),
                    Outcome::Unknown(Closed { code, text }) => {
                        format!("RabbitMQ refuses it: {code} {text}")
                    }
                };
                self.left.push((id, why));
            }
            let way = &self.way;
            self.publisher.mend(|ticket| way.message(&ticket.sleeper)).await?;
        }
        Ok(true)
    }
}

fn report(work: &Work, output: Output) -> Result<Exit, Failure> {
    let Work { redriven, left, way: Way { due, .. }, .. } = work;
    if output == Output::Json {
        let left: Vec<_> = left.iter().map(|(id, why)| json!({ "id": id, "why": why })).collect();
        print_json(
            &json!({ "redriven": redriven, "due": due.to_string(), "left": left, "stopped": work.stopped }),
        )?;
    } else {
        print(format!("{} redriven, due {due}", count(*redriven, "message")))?;
    }
    if left.is_empty() {
        return Ok(Exit::Done);
    }
    const SHOWN: usize = 10;
    let mut failure = format!("{} left in the DLQ:", count(left.len() as u64, "message"));
    for (id, why) in left.iter().take(SHOWN) {
        failure.push_str(&format!("\n  {id}: {why}"));
    }
    if left.len() > SHOWN {
        failure.push_str(&format!("\n  … and {} more", number((left.len() - SHOWN) as u64)));
    }
    if work.stopped {
        failure.push_str("\nIt stopped there; what it had not tried yet is in the DLQ as well.");
    }
    Err(Failure::failed(failure))
}
