//! `dormouse publish`: schedules a message from the shell.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::command::table;
use super::table::{print, print_json};
use super::{Exit, Failure, Output};
use crate::config::{Config, durations};
use crate::control::{IfExists, Key, Outcome};
use crate::message::{Headers, ShortString, Value, text};
use crate::operate::publish::{self, Decided, Due, DueError, Published};
use crate::operate::{Problem, PublishError, When};
use crate::worker::Clock;

#[derive(Debug, Args)]
pub struct Publish {
    /// Routing key: with the default delay exchange the name of the target queue.
    #[arg(long, short, value_name = "KEY")]
    to: String,
    /// How long from now, such as 90s or 2h30m.
    #[arg(long, short, value_parser = durations::parse_duration, value_name = "DURATION", conflicts_with = "at")]
    delay: Option<Duration>,
    /// When, as RFC 3339: 2027-01-01T09:00:00+01:00.
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    /// The delay exchange; by default the one for everyone.
    #[arg(long, value_name = "NAME")]
    exchange: Option<String>,
    /// By what it can be cancelled or rescheduled: 1 to 255 bytes.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// At most one with its key is to come: whether this one takes the place of one that is, or does
    /// not come itself. The answer says which.
    #[arg(long, value_enum, requires = "key", conflicts_with_all = ["exchange", "count"], value_name = "WHAT")]
    if_exists: Option<WhatIfExists>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WhatIfExists {
    Replace,
    Keep,
}

impl Publish {
    pub async fn run(self, config: Config, output: Output) -> Result<Exit, Failure> {
        let publish = self.request(&config)?;
        if let (Some(key), Some(what)) = (&publish.key, self.if_exists) {
            let if_exists = match what {
                WhatIfExists::Replace => IfExists::Replace,
                WhatIfExists::Keep => IfExists::Keep,
            };
            let decided = publish::publish_unique(&config, &publish, key, if_exists).await?;
            return report_unique(decided, output);
        }
        let published = publish::publish(&config, &publish).await?;
        self.report(&published, output)?;
        Ok(Exit::Done)
    }

    fn report(&self, published: &Published, output: Output) -> Result<(), Failure> {
        let Published { exchange, confirmed } = published;
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
            (Some(delay), None) => format!("due in {}", durations::duration(delay)),
            (None, None) => "due at once".to_owned(),
        };
        print(format!("{confirmed} confirmed by {exchange:?}, for {to:?}, {when}"))
    }

    fn key(&self) -> Result<Option<Key>, Failure> {
        let key = self.key.as_ref().map(|key| Key::new(key.as_bytes())).transpose();
        key.map_err(|fault| Failure::usage(format!("--key: {fault}")))
    }

    fn request(&self, config: &Config) -> Result<publish::Publish, Failure> {
        let headers = self.headers()?;
        let now = Clock::default().now();
        if let Some(at) = self.at
            && at.as_millisecond() <= now.0 as i64
        {
            eprintln!("dormouse: {at} has passed, so it is due at once");
        }
        Ok(publish::Publish {
            headers,
            due: Due::checked(When::of(self.at, self.delay), config, now)?,
            to: ShortString::try_new(self.to.as_str())
                .map_err(|error| Failure::usage(format!("--to: {error}")))?,
            exchange: self.exchange.clone(),
            key: self.key()?,
            body: self.body()?.into(),
            count: self.count,
        })
    }

    fn headers(&self) -> Result<Headers, Failure> {
        let mut headers = Headers::new();
        for header in &self.headers {
            let (name, value) = header.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--header {header}: write it as NAME=VALUE"))
            })?;
            let name = ShortString::try_new(name)
                .map_err(|error| Failure::usage(format!("--header {name}: {error}")))?;
            headers.insert(name, value.parse().map_or_else(|_| text(value), Value::LongLongInt));
        }
        Ok(headers)
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
}

fn report_unique(decided: Decided, output: Output) -> Result<Exit, Failure> {
    let told = match decided {
        Decided::Told(told) => told,
        Decided::Silent(why) => return Err(Failure::failed(why)),
    };
    match output {
        Output::Json => print_json(&told)?,
        Output::Table => print(table(&[&told]))?,
    }
    Ok(match told.outcome {
        Outcome::Refused(_) | Outcome::TooLate => Exit::Failed,
        _ => Exit::Done,
    })
}

impl From<DueError> for Failure {
    fn from(error: DueError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let exit = match &error {
            PublishError::Failed { problem: Problem::Forbidden(_), .. }
            | PublishError::CommandsOff { .. } => Exit::Refused,
            PublishError::Failed { problem: Problem::Lost(_), .. } => Exit::Unreachable,
            PublishError::Amqp(_)
            | PublishError::Silent { .. }
            | PublishError::Failed { .. }
            | PublishError::Reply(_) => Exit::Failed,
        };
        match error {
            PublishError::Amqp(error) => error.into(),
            error => Self::new(exit, error.to_string()),
        }
    }
}
