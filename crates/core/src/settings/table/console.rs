//! The keys of `[console]`: docs/console.md.

use std::time::Duration;

use crate::settings::keys::{Durations, Field, Key};

/// Less throws a person out who reads.
const IDLE_AT_LEAST: Duration = Duration::from_secs(60);
/// A day's work.
const IDLE_AT_MOST: Duration = Duration::from_secs(24 * 3600);

pub(super) const BASE_PATH: Key = Key {
    name: "console.base_path",
    short_variable: None,
    meaning: "Before every path of the console, for a proxy that passes it on as it is",
    field: Field::Text(|c| &mut c.console.base_path, r#"a path such as /dormouse, or "" for /"#),
};

pub(super) const READ_ONLY: Key = Key {
    name: "console.read_only",
    short_variable: None,
    meaning: "Whether the console only shows; what acts has no address then",
    field: Field::Switch(|c| &mut c.console.read_only),
};

pub(super) const IDLE: Key = Key {
    name: "console.idle",
    short_variable: None,
    meaning: "Who has not looked at the console for so long logs in again",
    field: Field::Duration(
        |c| &mut c.console.idle,
        Durations { min: IDLE_AT_LEAST, max: IDLE_AT_MOST, step: Duration::from_millis(1) },
    ),
};

const HEADER: &str = r#"the name of a header such as X-Forwarded-User, or "" for none"#;
const WHO: &str = "regular expressions for the whole of user:NAME or group:NAME";

pub(super) const PROXY_USER_HEADER: Key = Key {
    name: "console.proxy_user_header",
    short_variable: None,
    meaning: "In which api.trusted_proxies say who somebody is, who then needs no login; with console.proxy_password_file",
    field: Field::Text(|c| &mut c.console.proxy_user_header, HEADER),
};

pub(super) const PROXY_GROUPS_HEADER: Key = Key {
    name: "console.proxy_groups_header",
    short_variable: None,
    meaning: "In which they say of which groups, separated by commas",
    field: Field::Text(|c| &mut c.console.proxy_groups_header, HEADER),
};

pub(super) const PROXY_PASSWORD_FILE: Key = Key {
    name: "console.proxy_password_file",
    short_variable: None,
    meaning: "What the proxy sends as X-Dormouse-Proxy-Password, 32 characters at least; read at the start",
    field: Field::MaybeFile(|c| &mut c.console.proxy_password_file),
};

pub(super) const PROXY_LOOK: Key = Key {
    name: "console.proxy_look",
    short_variable: None,
    meaning: "Whom the proxy may bring to look, with the rights of broker.uri's user",
    field: Field::Texts(|c| &mut c.console.proxy_look, WHO),
};

pub(super) const PROXY_ACT: Key = Key {
    name: "console.proxy_act",
    short_variable: None,
    meaning: "Whom it may bring to look and act",
    field: Field::Texts(|c| &mut c.console.proxy_act, WHO),
};
