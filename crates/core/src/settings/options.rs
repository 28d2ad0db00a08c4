//! In: what follows the `?` of a URI. Out: for each option that would have no effect, what is wrong with
//! it and what does the same. No value is shown.

use super::fault::closest;
use super::secret::Uri;
use super::text::cut;

/// The client library negotiates no smaller frame, nor does RabbitMQ since 4.1.
pub const LEAST_FRAME_MAX_BYTES: u32 = 8 * 1024;

/// Of RabbitMQ's options those that count. <https://www.rabbitmq.com/docs/uri-query-parameters>
const TAKEN: [&str; 3] = ["auth_mechanism", "channel_max", "frame_max"];

/// RabbitMQ's others, and the key that does the same.
const KEYS_INSTEAD: [(&str, &str); 5] = [
    ("cacertfile", "broker.ca_file"),
    ("certfile", "broker.cert_file"),
    ("connection_timeout", "broker.connect_timeout"),
    ("heartbeat", "broker.heartbeat"),
    ("keyfile", "broker.key_file"),
];

/// RabbitMQ's options for its own TLS client.
const TLS: [&str; 5] =
    ["depth", "fail_if_no_peer_cert", "password", "server_name_indication", "verify"];

/// <https://www.rabbitmq.com/docs/access-control#mechanisms>
const MECHANISMS: [&str; 5] = ["amqplain", "anonymous", "external", "plain", "rabbit-cr-demo"];

impl Uri {
    /// What is wrong with the options of an AMQP address that has no other [`problem`](Uri::problem).
    pub(super) fn option_problems(&self) -> Vec<String> {
        let query = self.expose().split_once('?').map_or("", |(_, query)| query);
        query.split('&').filter(|option| !option.is_empty()).filter_map(problem).collect()
    }
}

fn problem(option: &str) -> Option<String> {
    let Some((name, value)) = option.split_once('=') else {
        return Some(
            "has a ? with something behind it that is no option=value; write %3F for ?".into(),
        );
    };
    match name {
        "auth_mechanism" if !MECHANISMS.contains(&value.to_lowercase().as_str()) => {
            Some(format!("has an unknown {name}; known are {}", MECHANISMS.join(", ")))
        }
        "channel_max" if value.parse::<u16>().is_err() => {
            Some(format!("has a {name} that is no whole number up to {}", u16::MAX))
        }
        "frame_max" if value.parse::<u32>().is_err() => {
            Some(format!("has a {name} that is no whole number of bytes up to {}", u32::MAX))
        }
        "frame_max"
            if value.parse().is_ok_and(|bytes| (1..LEAST_FRAME_MAX_BYTES).contains(&bytes)) =>
        {
            Some(format!(
                "has a {name} that is too small; take {LEAST_FRAME_MAX_BYTES} or more, or leave it out"
            ))
        }
        name if TAKEN.contains(&name) => None,
        name if TLS.contains(&name) => Some(format!(
            "has the option {name}, which has no effect here: certificates and host names are always verified"
        )),
        name => Some(match KEYS_INSTEAD.iter().find(|(known, _)| *known == name) {
            Some((_, key)) => format!("has the option {name}, which has no effect here; set {key}"),
            None => unknown(name),
        }),
    }
}

fn unknown(name: &str) -> String {
    let known = KEYS_INSTEAD.iter().map(|(known, _)| *known).chain(TAKEN);
    let shown = cut(&name.escape_debug().to_string());
    match closest(name, known) {
        Some(meant) => match KEYS_INSTEAD.iter().find(|(known, _)| *known == meant) {
            Some((_, key)) => {
                format!("has an unknown option {shown}; did you mean {meant}? {key} sets it")
            }
            None => format!("has an unknown option {shown}; did you mean {meant}?"),
        },
        None => format!("has an unknown option {shown}; known are {}", TAKEN.join(", ")),
    }
}
