//! The keys of `[service]` and `[api]`: docs/http.md.

use crate::settings::keys::{Field, Key};

/// A connection takes a file descriptor and a few kilobytes.
const CONNECTIONS_AT_MOST: u64 = 100_000;
/// Fewer are not enough for a console and a probe.
const CONNECTIONS_AT_LEAST: u64 = 16;
/// A request with the longest names is larger than less.
const BODY_AT_LEAST: u64 = 4 * 1024;
/// What RabbitMQ takes as one message at most, and its JSON.
const BODY_AT_MOST: u64 = 256 * 1024 * 1024;

pub(super) const ROLES: Key = Key {
    name: "service.roles",
    short_variable: None,
    meaning: "What `dormouse run` does",
    field: Field::Texts(|c| &mut c.service.roles, "some of worker, index, api, webhooks, console"),
};

pub(super) const LISTEN: Key = Key {
    name: "api.listen",
    short_variable: None,
    meaning: "Where the HTTP API answers, with the role api",
    field: Field::MaybeAddress(|c| &mut c.api.listen),
};

pub(super) const CERT_FILE: Key = Key {
    name: "api.cert_file",
    short_variable: None,
    meaning: "Certificate chain of the HTTP API, PEM; read again when it changes; needs key_file",
    field: Field::MaybeFile(|c| &mut c.api.cert_file),
};

pub(super) const KEY_FILE: Key = Key {
    name: "api.key_file",
    short_variable: None,
    meaning: "Key of that certificate, PEM; needs cert_file",
    field: Field::MaybeFile(|c| &mut c.api.key_file),
};

pub(super) const TOKENS_FILE: Key = Key {
    name: "api.tokens_file",
    short_variable: None,
    meaning: "Tokens of callers without a RabbitMQ user, a line each; read again when it changes",
    field: Field::MaybeFile(|c| &mut c.api.tokens_file),
};

pub(super) const TRUSTED_PROXIES: Key = Key {
    name: "api.trusted_proxies",
    short_variable: None,
    meaning: "Who may speak to the HTTP API without TLS, beside this machine, and names its caller's address",
    field: Field::Texts(
        |c| &mut c.api.trusted_proxies,
        "IP addresses or networks such as 10.0.0.0/8",
    ),
};

pub(super) const MAX_CONNECTIONS: Key = Key {
    name: "api.max_connections",
    short_variable: None,
    meaning: "Connections at once; for one more, the one that has been idle longest is closed",
    field: Field::Whole {
        get: |c| c.api.max_connections.into(),
        set: |c, connections| c.api.max_connections = connections as u32,
        min: CONNECTIONS_AT_LEAST,
        max: CONNECTIONS_AT_MOST,
        unit: "connections",
    },
};

pub(super) const MAX_BODY_BYTES: Key = Key {
    name: "api.max_body_bytes",
    short_variable: None,
    meaning: "The largest request",
    field: Field::Whole {
        get: |c| c.api.max_body_bytes,
        set: |c, bytes| c.api.max_body_bytes = bytes,
        min: BODY_AT_LEAST,
        max: BODY_AT_MOST,
        unit: "bytes",
    },
};

pub(super) const DELAY_SERVICE: Key = Key {
    name: "api.delay_service",
    short_variable: None,
    meaning: "Whether /delay/task/add and /delay/task/pull answer as another delay service does",
    field: Field::Switch(|c| &mut c.api.delay_service),
};
