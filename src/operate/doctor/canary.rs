//! One message through the whole path: published, confirmed, asleep, held, delivered to a queue of its own, which is gone
//! afterwards.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::check::{Check, Question};
use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection, Mailbox};
use crate::config::{Config, durations};
use crate::message::{Headers, Message, Properties, Value};
use crate::operate::confirming::Problem;
use crate::operate::explain::explain;
use crate::operate::{When, count, dlq};
use crate::schedule::headers::DELIVERY_TIME;
use crate::schedule::{Authority, UnixMs};
use crate::topology::Names;
use crate::worker::Clock;

/// Begins the name of its queue, which is none of Dormouse's own: those are no targets.
pub const QUEUES: &str = "dormouse-canary.";

/// A message that comes at all comes within this after its due time, unless something is wrong.
const GRACE: Duration = Duration::from_secs(20);

/// How often the DLQ is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// Later than this is worth a look.
const LATE: Duration = Duration::from_secs(1);

/// Of the DLQ, to find it there.
const LOOKED_AT: usize = 1_000;

const CANARY: Question = Question {
    name: "canary",
    asks: "a message comes at its due time",
    from: "a message of the doctor's own, from the delay exchange to a queue of its own",
};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Came {
        confirmed_in: Duration,
        late_ms: i64,
        hops: u32,
    },
    /// Why it was not sent.
    NotSent {
        why: String,
        next: String,
    },
    NotConfirmed(String),
    /// It is in the DLQ no more.
    Dead {
        reason: String,
    },
    Missing,
}

/// Long enough for a level, and then a second in a worker.
pub fn usual_delay(config: &Config) -> Duration {
    config.topology.unit + Duration::from_secs(1)
}

/// Sends it and waits for it. What a refusal or a lost connection hindered was not sent.
pub async fn fly(config: &Config, clock: &Clock, delay: Duration) -> Fate {
    let queue = format!("{QUEUES}{}", Uuid::now_v7().simple());
    let flight = match Flight::prepare(config, clock, delay, &queue) {
        Ok(flight) => flight,
        Err(fate) => return fate,
    };
    match flight.fly(config, clock).await {
        Ok(fate) => fate,
        Err(AmqpError::Closed { code: 403, text }) => Fate::NotSent {
            why: text,
            next: format!(
                "configure and read on ^{QUEUES} and write on the delay exchange for the user of broker.uri"
            ),
        },
        Err(error) => {
            Fate::NotSent { why: error.to_string(), next: "mend that, and ask again".into() }
        }
    }
}

/// What is to be sent.
struct Flight {
    message: Message,
    id: String,
    due: UnixMs,
    hops: u32,
}

impl Flight {
    /// Errors: it would not come back.
    fn prepare(config: &Config, clock: &Clock, delay: Duration, queue: &str) -> Result<Self, Fate> {
        let not_sent = |why: String, next: &str| Fate::NotSent { why, next: next.to_owned() };
        let door = &config.delay_exchanges[0];
        if !door.target_exchange.is_empty() {
            let why = format!(
                "{} leads to exchange {}, and a canary would reach its consumers",
                door.name, door.target_exchange
            );
            return Err(not_sent(
                why,
                "watch the lateness of what passes: dormouse_lateness_seconds",
            ));
        }
        let authority = Authority::new(config);
        if let Err(refusal) = authority
            .map_err(|error| not_sent(error.to_string(), "mend targets.queues"))?
            .check_queue(queue)
        {
            let next = "add \"dormouse-canary\\\\..*\" to targets.queues of this configuration and the workers'";
            return Err(not_sent(refusal.to_string(), next));
        }
        let now = clock.now();
        let path = explain(config, When::In(delay), now);
        let path = path.map_err(|error| not_sent(error.to_string(), "a shorter delay"))?;
        let (id, due) = (Uuid::now_v7().to_string(), now.plus(delay));
        let headers = Headers::from([(DELIVERY_TIME.into(), Value::LongLongInt(due.0 as i64))]);
        let message = Message {
            exchange: door.name.clone(),
            routing_key: queue.to_owned(),
            properties: Properties {
                headers,
                delivery_mode: Some(2),
                message_id: Some(id.as_str().into()),
                app_id: Some("dormouse doctor".into()),
                ..Properties::default()
            },
            body: "canary".into(),
        };
        Ok(Self { message, id, due, hops: path.plan.hops })
    }

    async fn fly(self, config: &Config, clock: &Clock) -> Result<Fate, AmqpError> {
        let connection = Connection::open(&config.broker, "dormouse doctor").await?;
        let fate = self.on(&connection, config, clock).await;
        // and with it the queue
        connection.close().await;
        fate
    }

    async fn on(
        self,
        connection: &Connection,
        config: &Config,
        clock: &Clock,
    ) -> Result<Fate, AmqpError> {
        let mut mailbox = Mailbox::open(connection, &self.message.routing_key).await?;
        let mut publisher = connection.publisher::<()>().await?;
        let published = Instant::now();
        publisher.publish(self.message.clone(), ());
        let Ok(settled) = timeout(config.delivery.confirm_timeout, publisher.settled()).await
        else {
            let why = if connection.is_blocked() {
                "an alarm blocks publishes"
            } else {
                "RabbitMQ is silent"
            };
            return Ok(Fate::NotConfirmed(why.into()));
        };
        let confirmed_in = published.elapsed();
        if let Some(problem) = settled.into_iter().find_map(|((), outcome)| Problem::of(outcome)) {
            return match problem {
                Problem::Forbidden(text) => Err(AmqpError::Closed { code: 403, text }),
                problem => Ok(Fate::NotConfirmed(problem.to_string())),
            };
        }
        let mut inspector = Inspector::open(connection).await?;
        let given_up = self.due.plus(GRACE);
        while clock.now() < given_up {
            if let Ok(came) = timeout(LOOK, mailbox.next()).await {
                came?;
                let late_ms = clock.now().0 as i64 - self.due.0 as i64;
                return Ok(Fate::Came { confirmed_in, late_ms, hops: self.hops });
            }
            let depth = inspector.queue(&Names::of(config).dlq()).await?;
            if depth.is_some_and(|depth| depth.ready > 0)
                && let Some(reason) = self.take_out_of_dlq(config).await
            {
                return Ok(Fate::Dead { reason });
            }
        }
        Ok(Fate::Missing)
    }

    /// Why it is there, if it is. Others stay.
    async fn take_out_of_dlq(&self, config: &Config) -> Option<String> {
        let listed = dlq::list(config, &dlq::Selection::All, LOOKED_AT, |_| ()).await.ok()?;
        let is_ours = |entry: &&dlq::Entry| {
            entry.delayed.as_ref().and_then(|delayed| delayed.message_id()) == Some(&*self.id)
        };
        let entry = listed.entries.iter().find(is_ours)?;
        let detail = entry.failure().map(|failure| failure.detail.clone()).unwrap_or_default();
        let chosen = dlq::Selection::Ids(vec![entry.id.clone()]);
        // one that stays is a message of the doctor's, which its app_id tells
        let _ = dlq::purge(config, &chosen, false, |_| ()).await;
        Some(format!("{}: {detail}", entry.reason_text()))
    }
}

impl Fate {
    /// `workers` of the status; a canary is not sent without one.
    pub fn check(self, delay: Duration) -> Check {
        match self {
            Fate::Came { confirmed_in, late_ms, hops } => {
                let evidence = format!(
                    "confirmed in {} ms, due after {}, and came {late_ms} ms after that, through {}",
                    confirmed_in.as_millis(),
                    durations::duration(delay),
                    count(hops.into(), "level queue")
                );
                if late_ms < 0 {
                    CANARY.fail(evidence, "that is early: compare the clocks; if they agree, please report it")
                } else if late_ms > LATE.as_millis() as i64 {
                    CANARY.warn(evidence, "look at dormouse_lateness_seconds, and at the load of RabbitMQ")
                } else {
                    CANARY.pass(evidence)
                }
            }
            Fate::NotSent { why, next } => CANARY.unseen(format!("not sent: {why}"), next),
            Fate::NotConfirmed(why) => CANARY.fail(format!("not confirmed: {why}"), "dormouse status"),
            Fate::Dead { reason } => {
                let evidence = format!("it went to the DLQ, {reason}; it was taken out of there");
                CANARY.fail(evidence, "compare the workers' configuration with this one")
            }
            Fate::Missing => CANARY.fail(
                format!("it did not come within {} s after it was due; when it comes, it finds no queue and goes to the DLQ", GRACE.as_secs()),
                "dormouse status",
            ),
        }
    }

    /// There is nobody who could deliver it.
    pub fn without_workers() -> Self {
        Self::NotSent { why: "no worker is at work".into(), next: "dormouse run".into() }
    }
}
