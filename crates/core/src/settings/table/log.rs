//! The keys of `[log]`.

use crate::settings::keys::{Field, Key};
use crate::settings::values::LogFormat;

pub(super) const FILTER: Key = Key {
    name: "log.filter",
    short_variable: None,
    meaning: "What is logged",
    field: Field::Text(
        |c| &mut c.log.filter,
        r#"a level, error to trace, or filters like "info,dormouse=debug""#,
    ),
};

pub(super) const FORMAT: Key = Key {
    name: "log.format",
    short_variable: None,
    meaning: "How a line of the log is written",
    field: Field::Choice {
        get: |c| match c.log.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        },
        set: |c, name| {
            c.log.format = if name == "json" { LogFormat::Json } else { LogFormat::Text }
        },
        of: ["text", "json"],
    },
};
