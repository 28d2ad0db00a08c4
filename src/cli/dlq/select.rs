//! Which messages of the DLQ a command means.

use std::collections::BTreeMap;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::entry::NO_REASON;
use super::{Entry, Look};
use crate::cli::Failure;
use crate::schedule::Reason;

/// Some, all, or those with one reason. One of them has to be given.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Ids, or enough of the beginning or the end of each to be the only one.
    #[arg(value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub ids: Vec<String>,
    /// All messages that are there now.
    #[arg(long)]
    pub all: bool,
    /// Messages with this reason; '?' for those that are not Dormouse's.
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    pub reason: Option<Cause>,
}

/// A reason, or none for a message that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause(Option<Reason>);

impl Cause {
    pub fn is_of(self, entry: &Entry) -> bool {
        self.0 == entry.reason()
    }
}

pub fn reasons() -> impl TypedValueParser<Value = Cause> {
    let texts = Reason::ALL.into_iter().map(Reason::as_str).chain([NO_REASON]);
    PossibleValuesParser::new(texts).map(|text| Cause(Reason::parse(&text)))
}

/// Looks at every message and takes those whose ids were asked for, in the order of the queue.
///
/// Errors: an id that none has, or that fits several.
pub async fn by_ids(look: &mut Look, asked: &[String]) -> Result<Vec<Entry>, Failure> {
    let mut chosen = Vec::new();
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    while let Some(entry) = look.next().await? {
        let mut is_asked_for = false;
        for asked in asked.iter().filter(|asked| entry.answers_to(asked)) {
            is_asked_for = true;
            // a crash in the wrong moment leaves a message twice, with one id
            let first = found.entry(asked).or_insert_with(|| entry.id.clone());
            if *first != entry.id {
                let both = format!("{first} and {}", entry.id);
                return Err(Failure::failed(format!(
                    "{asked:?} fits more than one message: {both}; nothing was done"
                )));
            }
        }
        if is_asked_for {
            chosen.push(entry);
        }
    }
    let missing: Vec<_> = asked
        .iter()
        .filter(|asked| !found.contains_key(asked.as_str()))
        .map(|asked| format!("{asked:?}"))
        .collect();
    if missing.is_empty() {
        Ok(chosen)
    } else {
        let missing = missing.join(", ");
        Err(Failure::failed(format!(
            "no message in the DLQ has the id {missing}; nothing was done (`dormouse dlq list`)"
        )))
    }
}
