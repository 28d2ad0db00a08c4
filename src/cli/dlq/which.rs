//! Which messages of the DLQ a command means.

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};

use crate::operate::count;
use crate::operate::dlq::{Cause, NO_REASON, Selection};
use crate::schedule::Reason;

/// Some, all, or those with one reason. One of them has to be given.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Ids, or enough of the beginning or the end of each to be the only one.
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    ids: Vec<String>,
    /// All messages that are there now.
    #[arg(long)]
    all: bool,
    /// Messages with this reason; '?' for those that are not Dormouse's.
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    reason: Option<Cause>,
}

impl From<Which> for Selection {
    fn from(Which { ids, all, reason }: Which) -> Self {
        match reason {
            Some(cause) => Self::Reason(cause),
            None if all => Self::All,
            None => Self::Ids(ids),
        }
    }
}

pub fn reasons() -> impl TypedValueParser<Value = Cause> {
    let texts = Reason::ALL.into_iter().map(Reason::as_str).chain([NO_REASON]);
    PossibleValuesParser::new(texts).map(|text| Cause(Reason::parse(&text)))
}

/// Says on standard error that not all was seen.
pub fn missed(messages: u32) {
    eprintln!(
        "dormouse: {} could not be looked at: somebody else has them",
        count(messages.into(), "message")
    );
}

/// As a person calls it.
pub fn exchange_name(exchange: &str) -> String {
    if exchange.is_empty() { "(default)".into() } else { exchange.into() }
}
