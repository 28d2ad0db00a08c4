//! `dormouse token`: for callers of the HTTP API that have no RabbitMQ user.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::json;

use super::table::{print, print_json};
use super::{Exit, Failure, Output};
use crate::api::auth::tokens::{Line, NewToken, Scope};
use crate::config::durations;

#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token, and the line for api.tokens_file.
    New(New),
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
struct New {
    /// Whose it is, for logs.
    name: String,
    /// What it allows: schedule, command, read, operate.
    #[arg(long, required = true, value_delimiter = ',', value_parser = scopes())]
    scopes: Vec<Scope>,
    /// A regular expression for queue:NAME, exchange:NAME:ROUTING_KEY or endpoint:NAME. May be repeated; the scope schedule needs one.
    #[arg(long = "target", value_name = "PATTERN")]
    targets: Vec<String>,
    /// Messages and commands a second.
    #[arg(long)]
    rate: Option<u32>,
    /// In how long it expires, such as 90d.
    #[arg(long = "expires-in", value_name = "DURATION", value_parser = durations::parse_duration)]
    expires_in: Option<Duration>,
}

const HELP: &str = "\
The first line is the token: it is shown once, and nobody can find it again. The
second is for the file, which has its SHA-256 only. A service takes up what
changes in the file within seconds; a line that is taken out ends its token.";

fn scopes() -> impl TypedValueParser<Value = Scope> {
    let named = |name: String| Scope::ALL.into_iter().find(|scope| scope.name() == name);
    PossibleValuesParser::new(Scope::ALL.map(Scope::name))
        .map(move |name| named(name).expect("one of these"))
}

impl Token {
    pub fn run(self, output: Output) -> Result<Exit, Failure> {
        let Verb::New(New { name, scopes, targets, rate, expires_in }) = self.verb;
        let expires = expires_in.map(|after| jiff::Timestamp::now().checked_add(after));
        let expires =
            expires.transpose().map_err(|_| Failure::usage("--expires-in is too long"))?;
        let expires = expires.map(|moment| {
            jiff::Timestamp::from_second(moment.as_second()).expect("it was one before")
        });
        let line = Line { name, sha256: String::new(), scopes, targets, rate, expires };
        let NewToken { token, line } = line.issue();
        line.checked().map_err(Failure::usage)?;
        match output {
            Output::Json => print_json(&json!({ "token": token, "line": line }))?,
            Output::Table => {
                let line = serde_json::to_string(&line).expect("texts and numbers are JSON");
                print(format!("{token}\n{line}"))?;
            }
        }
        Ok(Exit::Done)
    }
}
