//! In: a key's name. Out: its variable, where its value lives in [`Config`] and what it may be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::durations;
use super::retry::{DeadLetterReason, RetryOverride};
use super::secret::Uri;
use super::values::{Config, DelayExchange};

/// One thing an operator can set.
pub struct Key {
    /// `section.key` in the file and on the command line.
    pub name: &'static str,
    /// The variable, where it is not [`Key::variable`]'s rule.
    pub short_variable: Option<&'static str>,
    /// One sentence without its full stop.
    pub meaning: &'static str,
    /// Where its value lives, and what it may be.
    pub field: Field,
}

/// Where a value lives in [`Config`], and what it may be.
pub enum Field {
    /// A list of AMQP addresses.
    Uris(fn(&mut Config) -> &mut Vec<Uri>),
    /// An address or none, and what it must be.
    MaybeUri(fn(&mut Config) -> &mut Option<Uri>, &'static str),
    /// The path of a file that can be read, or none.
    MaybeFile(fn(&mut Config) -> &mut Option<PathBuf>),
    /// The path of a file that is made if it is not there, or none.
    MaybePath(fn(&mut Config) -> &mut Option<PathBuf>),
    /// An IP address and port, or none.
    MaybeAddress(fn(&mut Config) -> &mut Option<SocketAddr>),
    /// A duration with its limits.
    Duration(fn(&mut Config) -> &mut Duration, Durations),
    /// A whole number.
    Whole {
        /// Reads it.
        get: fn(&Config) -> u64,
        /// Sets it.
        set: fn(&mut Config, u64),
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
        /// What is counted, such as `messages`; empty for a plain number.
        unit: &'static str,
    },
    /// A number with its smallest and largest value.
    Ratio(fn(&mut Config) -> &mut f64, f64, f64),
    /// `true` or `false`.
    Switch(fn(&mut Config) -> &mut bool),
    /// One of two words.
    Choice {
        /// The word that is set.
        get: fn(&Config) -> &'static str,
        /// Sets one of the two.
        set: fn(&mut Config, &str),
        /// The two.
        of: [&'static str; 2],
    },
    /// A text, and what it must be.
    Text(fn(&mut Config) -> &mut String, &'static str),
    /// A list of texts, and what each must be.
    Texts(fn(&mut Config) -> &mut Vec<String>, &'static str),
    /// `[[delay_exchange]]` tables.
    DelayExchanges(fn(&mut Config) -> &mut Vec<DelayExchange>),
    /// A list of pauses.
    Ladder(fn(&mut Config) -> &mut Vec<Duration>),
    /// A list of reasons.
    Reasons(fn(&mut Config) -> &mut Vec<DeadLetterReason>),
    /// `[[retry.policies]]` tables.
    RetryPolicies(fn(&mut Config) -> &mut Vec<RetryOverride>),
}

/// The durations from `min` to `max` that are a multiple of `step`.
pub struct Durations {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// The unit that it is set in.
    pub step: Duration,
}

impl Key {
    /// `DORMOUSE_` and the key in capitals, dots as underscores; three are shorter.
    pub fn variable(&self) -> String {
        match self.short_variable {
            Some(variable) => variable.into(),
            None => self.long_variable(),
        }
    }

    /// The variable by the rule, which is understood too where there is a shorter one.
    pub fn long_variable(&self) -> String {
        format!("DORMOUSE_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Whether its value may hold a password, so that it is shown masked.
    pub fn is_secret(&self) -> bool {
        matches!(self.field, Field::Uris(_) | Field::MaybeUri(..))
    }

    /// What a value must be, with its unit and limits: completes "must be …".
    pub fn expected(&self) -> String {
        match &self.field {
            Field::Uris(_) => "amqp:// or amqps:// URIs, separated by commas".into(),
            Field::MaybeFile(_) => r#"a readable file, or "" for none"#.into(),
            Field::MaybePath(_) => r#"a path, or "" for none"#.into(),
            Field::MaybeAddress(_) => r#"an IP address and port, or "" for nowhere"#.into(),
            Field::Duration(_, Durations { min, max, step }) => {
                let whole = if *step == Duration::from_secs(1) { " of whole seconds" } else { "" };
                format!(
                    "a duration{whole}, {} to {}",
                    durations::duration(*min),
                    durations::duration(*max)
                )
            }
            Field::Whole { min, max, unit, .. } => {
                let unit = if unit.is_empty() { String::new() } else { format!(" of {unit}") };
                if *max >= u32::MAX.into() {
                    format!("a whole number{unit}, at least {min}")
                } else {
                    format!("a whole number{unit}, {min} to {max}")
                }
            }
            Field::Ratio(_, min, max) if *max == f64::MAX => format!("a number, at least {min}"),
            Field::Ratio(_, min, max) => format!("a number, {min} to {max}"),
            Field::Switch(_) => "true or false".into(),
            Field::Choice { of: [one, other], .. } => format!(r#""{one}" or "{other}""#),
            Field::MaybeUri(_, right) | Field::Text(_, right) | Field::Texts(_, right) => {
                (*right).into()
            }
            Field::DelayExchanges(_) => "tables of name and target_exchange".into(),
            Field::Ladder(_) => LADDER.into(),
            Field::Reasons(_) => REASONS.into(),
            Field::RetryPolicies(_) => "tables of queues and what is different for them".into(),
        }
    }
}

impl Durations {
    /// What is wrong with a duration for this key, completing "key = value: …".
    pub fn problem(&self, key: &Key, duration: Duration) -> Option<String> {
        if !(self.min..=self.max).contains(&duration) {
            Some(format!("must be {}", key.expected()))
        } else if !duration.as_nanos().is_multiple_of(self.step.as_nanos()) {
            Some(format!("must be a multiple of {}", durations::duration(self.step)))
        } else {
            None
        }
    }
}

/// What a ladder must be.
pub const LADDER: &str =
    r#"a list of durations such as ["2m", "10m", "1h"], "payment" or "rocketmq", or [] for none"#;
/// What a list of reasons must be.
pub const REASONS: &str = "a list of rejected, expired, maxlen, delivery_limit";
