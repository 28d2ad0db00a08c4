//! The keys of `[outbox]`: docs/outbox.md.

use std::time::Duration;

use crate::settings::keys::{Durations, Field, Key};

const POLL_AT_LEAST: Duration = Duration::from_millis(10);
const POLL_AT_MOST: Duration = Duration::from_secs(60);

pub(super) const URI: Key = Key {
    name: "outbox.uri",
    short_variable: None,
    meaning: "The database whose table dormouse_outbox `dormouse outbox run` publishes",
    field: Field::MaybeUri(|c| &mut c.outbox.uri, r#"a postgres:// URI, or "" for none"#),
};

pub(super) const CA_FILE: Key = Key {
    name: "outbox.ca_file",
    short_variable: None,
    meaning: "Certificate authority of the database, PEM; without one the system's",
    field: Field::MaybeFile(|c| &mut c.outbox.ca_file),
};

pub(super) const CONNECTIONS: Key = Key {
    name: "outbox.connections",
    short_variable: None,
    meaning: "Connections to the database that publish, each a batch at a time; one more listens",
    field: Field::Whole {
        get: |c| c.outbox.connections.into(),
        set: |c, connections| c.outbox.connections = connections as u16,
        min: 1,
        max: 64,
        unit: "connections",
    },
};

pub(super) const POLL: Key = Key {
    name: "outbox.poll",
    short_variable: None,
    meaning: "How often the table is looked at when nothing is notified",
    field: Field::Duration(
        |c| &mut c.outbox.poll,
        Durations { min: POLL_AT_LEAST, max: POLL_AT_MOST, step: Duration::from_millis(1) },
    ),
};
