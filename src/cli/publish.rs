//! `dormouse publish`: schedules a message from the shell.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::table::{print, print_json};
use super::{Exit, Failure, Output};
use crate::amqp::{Connection, Outcome};
use crate::config::{Config, words};
use crate::message::{Message, Properties, ShortString, Value, text};
use crate::schedule::UnixMs;
use crate::schedule::headers::{DELIVERY_TIME, X_DELAY};
use crate::worker::Clock;

#[derive(Debug, Args)]
pub struct Publish {
    /// Routing key: with the default delay exchange the name of the target queue.
    #[arg(long, short, value_name = "KEY")]
    to: String,
    /// How long from now, such as 90s or 2h30m.
    #[arg(long, short, value_parser = words::parse_duration, value_name = "DURATION", conflicts_with = "at")]
    delay: Option<Duration>,
    /// When, as RFC 3339: 2027-01-01T09:00:00+01:00.
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    /// The delay exchange; by default the one for everyone.
    #[arg(long, value_name = "NAME")]
    exchange: Option<String>,
    /// A header, NAME=VALUE; whole numbers are sent as such. May be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// Read the body from a file, - for standard input.
    #[arg(long, short, value_name = "FILE", conflicts_with = "body")]
    file: Option<PathBuf>,
    /// How many copies.
    #[arg(long, short = 'n', default_value_t = 1, value_name = "COUNT")]
    count: u32,
    /// The body.
    body: Option<String>,
}

/// Publishes without a confirm at a time.
const WINDOW: usize = 500;

impl Publish {
    pub async fn run(self, config: Config, output: Output) -> Result<Exit, Failure> {
        let message = self.message(&config)?;
        let connection = Connection::open(&config.broker, "dormouse publish").await?;
        let mut publisher = connection.publisher::<()>().await?;
        let (mut sent, mut confirmed) = (0, 0);
        while confirmed < self.count {
            while sent < self.count && publisher.len() < WINDOW {
                let mut message = message.clone();
                message.properties.message_id = Some(uuid::Uuid::now_v7().to_string().into());
                publisher.publish(message, ());
                sent += 1;
            }
            let timeout = config.delivery.confirm_timeout;
            let Ok(settled) = tokio::time::timeout(timeout, publisher.settled()).await else {
                let alarm = if connection.is_blocked() {
                    "a memory or disk alarm blocks publishes"
                } else {
                    "RabbitMQ is silent"
                };
                let timeout = words::duration(timeout);
                return Err(Failure::failed(format!(
                    "{confirmed} confirmed, then none within {timeout}: {alarm}"
                )));
            };
            for ((), outcome) in settled {
                self.confirmed(outcome, &message.exchange, confirmed)?;
                confirmed += 1;
            }
        }
        connection.close().await;
        self.report(&message.exchange, confirmed, output)?;
        Ok(Exit::Done)
    }

    fn report(&self, exchange: &str, confirmed: u32, output: Output) -> Result<(), Failure> {
        let (delay, at, to) = (self.delay, self.at, &self.to);
        if output == Output::Json {
            return print_json(&json!({
                "confirmed": confirmed,
                "exchange": exchange,
                "routing_key": to,
                "delay_ms": delay.map(|delay| delay.as_millis() as u64),
                "at": at.map(|at| at.to_string()),
            }));
        }
        let when = match (delay, at) {
            (_, Some(at)) => format!("due {at}"),
            (Some(delay), None) => format!("due in {}", words::duration(delay)),
            (None, None) => "due at once".to_owned(),
        };
        print(format!("{confirmed} confirmed by {exchange:?}, for {to:?}, {when}"))
    }

    fn message(&self, config: &Config) -> Result<Message, Failure> {
        let mut properties = Properties { delivery_mode: Some(2), ..Default::default() };
        let headers = &mut properties.headers;
        for header in &self.headers {
            let (name, value) = header.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--header {header}: write it as NAME=VALUE"))
            })?;
            let name = ShortString::try_new(name)
                .map_err(|error| Failure::usage(format!("--header {name}: {error}")))?;
            headers.insert(name, value.parse().map_or_else(|_| text(value), Value::LongLongInt));
        }
        if let Some(delay) = self.delay {
            headers.insert(X_DELAY.into(), Value::LongLongInt(delay.as_millis() as i64));
        }
        if let Some(at) = self.at {
            headers.insert(DELIVERY_TIME.into(), Value::LongLongInt(at.as_millisecond()));
            if at.as_millisecond() <= Clock::default().now().0 as i64 {
                eprintln!("dormouse: {at} has passed, so it is due at once");
            }
        }
        self.check_bounds(config)?;
        let routing_key = ShortString::try_new(self.to.as_str())
            .map_err(|error| Failure::usage(format!("--to: {error}")))?;
        let exchange =
            self.exchange.clone().unwrap_or_else(|| config.delay_exchanges[0].name.clone());
        Ok(Message {
            exchange,
            routing_key: routing_key.into(),
            properties,
            body: self.body()?.into(),
        })
    }

    /// A worker would send what is out of bounds to the DLQ, long after this command was done.
    fn check_bounds(&self, config: &Config) -> Result<(), Failure> {
        let now = Clock::default().now();
        let due = self.at.map(|at| UnixMs(u64::try_from(at.as_millisecond()).unwrap_or(0)));
        let (max, max_past) = (config.topology.max_delay, config.schedule.max_past);
        if let Some(delay) = self.delay.or(due.map(|due| due.since(now)))
            && delay > max
        {
            let (delay, max) = (words::duration(delay), words::duration(max));
            return Err(Failure::usage(format!(
                "{delay} is longer than the longest delay, topology.max_delay = {max}"
            )));
        }
        if let Some(due) = due
            && now.since(due) > max_past
        {
            let max_past = words::duration(max_past);
            return Err(Failure::usage(format!(
                "{due} is longer ago than schedule.max_past = {max_past}"
            )));
        }
        Ok(())
    }

    fn body(&self) -> Result<Vec<u8>, Failure> {
        let unreadable =
            |error: std::io::Error| Failure::usage(format!("cannot read the body: {error}"));
        match (&self.body, &self.file) {
            (Some(body), _) => Ok(body.clone().into_bytes()),
            (None, Some(file)) if file.as_os_str() == "-" => {
                let mut body = Vec::new();
                std::io::stdin().read_to_end(&mut body).map_err(unreadable)?;
                Ok(body)
            }
            (None, Some(file)) => std::fs::read(file).map_err(unreadable),
            (None, None) => Err(Failure::usage("no body: give it as an argument or with --file")),
        }
    }

    fn confirmed(&self, outcome: Outcome, exchange: &str, before: u32) -> Result<(), Failure> {
        let (exit, problem) = match outcome {
            Outcome::Confirmed => return Ok(()),
            Outcome::Returned { code, text } => {
                let hint =
                    "no queue is bound to it; `dormouse topology plan` tells what is missing";
                (Exit::Failed, format!("returned: {code} {text} ({hint})"))
            }
            Outcome::Nacked => (Exit::Failed, "rejected by the intake queue".to_owned()),
            Outcome::Unknown(closed) if closed.code == 404 => {
                let hint = "a worker declares it when it starts; `dormouse topology apply` does it without one";
                (Exit::Failed, format!("{} ({hint})", closed.text))
            }
            Outcome::Unknown(closed) if closed.code == 403 => (Exit::Refused, closed.text),
            Outcome::Unknown(closed) => (Exit::Unreachable, closed.text),
        };
        Err(Failure::new(
            exit,
            format!("publishing to {exchange:?} failed after {before} confirmed: {problem}"),
        ))
    }
}
