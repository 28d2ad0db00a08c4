//! Keys of `[broker]`: where it is.

use crate::settings::keys::{Field, Key};

pub(super) const URI: Key = Key {
    name: "broker.uri",
    short_variable: Some("DORMOUSE_URI"),
    meaning: "Where RabbitMQ is: the nodes of one cluster, tried in turn, and the virtual host",
    field: Field::Uris(|c| &mut c.broker.uri),
};

pub(super) const MANAGEMENT_URI: Key = Key {
    name: "broker.management_uri",
    short_variable: Some("DORMOUSE_MANAGEMENT_URI"),
    meaning: "Where the management API answers; guessed from the first AMQP URI",
    field: Field::MaybeUri(
        |c| &mut c.broker.management_uri,
        r#"an http:// or https:// URI, or "" to guess"#,
    ),
};
