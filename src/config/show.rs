//! In: a configuration. Out: the TOML that makes it, and the reference of all keys.

use std::fmt::Write;

use super::keys::{Field, Key};
use super::table::KEYS;
use super::{Config, retry, words};

impl Config {
    /// The effective configuration as a file that loads again, every key with its meaning, limits and
    /// unit in a comment above it. Passwords are masked.
    pub fn to_toml(&self) -> String {
        let mut toml = String::new();
        let mut section = "";
        for key in KEYS {
            let comment = format!("# {} ({})\n", key.meaning, key.right());
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
                    for (name, value) in policy.fields() {
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
            key.right(),
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
        Field::MaybeUri(at) => {
            quoted(&at(config).as_ref().map(ToString::to_string).unwrap_or_default())
        }
        Field::MaybeFile(at) => {
            quoted(&at(config).as_ref().map(|path| path.display().to_string()).unwrap_or_default())
        }
        Field::MaybeAddress(at) => quoted(&at(config).map(|a| a.to_string()).unwrap_or_default()),
        Field::Duration(at, _) => quoted(&words::duration(*at(config))),
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
        Field::Ladder(at) => retry::shown_ladder(at(config)),
        Field::Reasons(at) => retry::shown_reasons(at(config)),
        Field::RetryPolicies(at) => list(at(config).iter().map(|policy| {
            let fields =
                policy.fields().into_iter().map(|(name, value)| format!("{name} = {value}"));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        })),
    }
}

pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // also what would turn the line around or be invisible
            c if c != '\'' && c.escape_debug().count() > 1 => {
                let _ = write!(quoted, "\\U{:08X}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
