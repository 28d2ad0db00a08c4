//! In: a configuration. Out: the TOML that makes it, and the reference of all keys.

use std::fmt::Write;
use std::time::Duration;

use super::durations;
use super::keys::{Field, Key};
use super::retry::{DeadLetterReason, RetryOverride};
use super::table::KEYS;
use super::text::{list, quoted};
use super::values::Config;

impl Config {
    /// The effective configuration as a file that loads again, every key with its meaning, limits and
    /// unit in a comment above it. Passwords are masked.
    pub fn to_toml(&self) -> String {
        let mut toml = String::new();
        let mut section = "";
        for key in KEYS {
            let comment = format!("# {} ({})\n", key.meaning, key.expected());
            let Some((in_section, name)) = key.name.split_once('.') else {
                toml.push_str(&format!("\n{comment}"));
                for exchange in &self.delay_exchanges {
                    let name = quoted(&exchange.name);
                    let target = quoted(&exchange.target_exchange);
                    let _ = write!(
                        toml,
                        "[[{}]]\nname = {name}\ntarget_exchange = {target}\n",
                        key.name
                    );
                }
                continue;
            };
            if in_section != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                let _ = writeln!(toml, "{gap}[{in_section}]");
                section = in_section;
            }
            if let Field::RetryPolicies(_) = key.field {
                let _ = write!(toml, "{comment}");
                for policy in &self.retry.policies {
                    let _ = writeln!(toml, "[[{}]]", key.name);
                    for (name, value) in fields_of(policy) {
                        let _ = writeln!(toml, "{name} = {value}");
                    }
                }
                continue;
            }
            let _ = writeln!(toml, "{comment}{name} = {}", value(key, self));
        }
        toml
    }
}

/// The reference of all keys as a Markdown table, for `docs/configuration.md`.
pub fn key_table() -> String {
    let defaults = Config::default();
    let mut table =
        String::from("| Key | Variable | Default | May be | Meaning |\n|---|---|---|---|---|\n");
    for key in KEYS {
        let _ = writeln!(
            table,
            "| `{}` | `{}` | `{}` | {} | {} |",
            key.name,
            key.variable(),
            value(key, &defaults),
            key.expected(),
            key.meaning,
        );
    }
    table
}

/// The value on one line of TOML; passwords are masked.
pub(super) fn value(key: &Key, config: &Config) -> String {
    let mut config = config.clone();
    let config = &mut config;
    match &key.field {
        Field::Uris(at) => list(at(config).iter().map(|uri| quoted(&uri.to_string()))),
        Field::MaybeUri(at, _) => {
            quoted(&at(config).as_ref().map(ToString::to_string).unwrap_or_default())
        }
        Field::MaybeFile(at) | Field::MaybePath(at) => {
            quoted(&at(config).as_ref().map(|path| path.display().to_string()).unwrap_or_default())
        }
        Field::MaybeAddress(at) => quoted(&at(config).map(|a| a.to_string()).unwrap_or_default()),
        Field::Duration(at, _) => quoted(&durations::duration(*at(config))),
        Field::Whole { get, .. } => get(config).to_string(),
        Field::Ratio(at, ..) => format!("{:?}", at(config)),
        Field::Switch(at) => at(config).to_string(),
        Field::Choice { get, .. } => quoted(get(config)),
        Field::Text(at, _) => quoted(at(config)),
        Field::Texts(at, _) => list(at(config).iter().map(|text| quoted(text))),
        Field::DelayExchanges(at) => list(at(config).iter().map(|exchange| {
            let name = quoted(&exchange.name);
            format!("{{ name = {name}, target_exchange = {} }}", quoted(&exchange.target_exchange))
        })),
        Field::Ladder(at) => shown_ladder(at(config)),
        Field::Reasons(at) => shown_reasons(at(config)),
        Field::RetryPolicies(at) => list(at(config).iter().map(|policy| {
            let fields =
                fields_of(policy).into_iter().map(|(name, value)| format!("{name} = {value}"));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        })),
    }
}

/// The keys and values of an override as TOML, one each.
fn fields_of(policy: &RetryOverride) -> Vec<(&'static str, String)> {
    let pause = |of: &Option<Duration>| of.map(|of| quoted(&durations::duration(of)));
    let fields = [
        ("queues", Some(quoted(&policy.queues))),
        ("max_retries", policy.max_retries.map(|number| number.to_string())),
        ("initial_backoff", pause(&policy.initial_backoff)),
        ("multiplier", policy.multiplier.map(|number| format!("{number:?}"))),
        ("max_backoff", pause(&policy.max_backoff)),
        ("ladder", policy.ladder.as_deref().map(shown_ladder)),
        ("jitter", policy.jitter.map(|number| format!("{number:?}"))),
        ("max_age", pause(&policy.max_age)),
        ("reasons", policy.reasons.as_deref().map(shown_reasons)),
    ];
    fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn shown_ladder(pauses: &[Duration]) -> String {
    list(pauses.iter().map(|pause| quoted(&durations::duration(*pause))))
}

fn shown_reasons(reasons: &[DeadLetterReason]) -> String {
    list(reasons.iter().map(|reason| quoted(reason.as_str())))
}
