//! The keys of `[webhooks]`: docs/webhooks.md.

use crate::settings::keys::{Field, Key};

pub(super) const FILE: Key = Key {
    name: "webhooks.file",
    short_variable: None,
    meaning: "The file of endpoints that webhooks may go to, TOML; read again when it changes. The API shows them, and refuses others",
    field: Field::MaybeFile(|c| &mut c.webhooks.file),
};

pub(super) const QUEUE: Key = Key {
    name: "webhooks.queue",
    short_variable: None,
    meaning: "The queue of what is due for an endpoint; a target as any other",
    field: Field::Text(
        |c| &mut c.webhooks.queue,
        "a queue's name of 1 to 255 bytes, none of Dormouse's",
    ),
};
