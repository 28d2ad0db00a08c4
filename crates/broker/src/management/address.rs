//! In: a URI with credentials. Out: where to send requests, and as whom, without a password to print.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

use super::ManagementError;

/// How far the management port lies above the AMQP port: 15672 over 5672, 15671 over 5671.
const PORT_DISTANCE: u16 = 10_000;

/// AMQP's own default user and password.
const DEFAULT_USER: &str = "guest";
const DEFAULT_PASSWORD: &str = "guest";

/// Where the management API answers and as whom we ask. Shows no password.
#[derive(Clone)]
pub(super) struct Address {
    /// `http(s)://host:port[/prefix]`: no credentials, no slash at the end.
    base: String,
    user: String,
    authorization: String,
}

impl Address {
    /// Reads `http(s)://user:password@host:port[/prefix]`. An `/api` at the end is taken as part of
    /// RabbitMQ's paths, not of the prefix.
    pub(super) fn parse(uri: &str) -> Result<Self, ManagementError> {
        let invalid = |reason: String| ManagementError::InvalidUri { reason };
        let url = Url::parse(uri).map_err(|error| invalid(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("it does not begin with http:// or https://".to_owned()));
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(invalid("it names no host".to_owned()));
        };
        let prefix = url.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix("/api").unwrap_or(prefix);
        let (user, password) = credentials(&url);
        let user = decode(user).ok_or_else(|| invalid("its user name is not UTF-8".to_owned()))?;
        let password =
            decode(password).ok_or_else(|| invalid("its password is not UTF-8".to_owned()))?;
        Ok(Self {
            base: format!("{}://{host}:{port}{prefix}", url.scheme()),
            authorization: format!(
                "Basic {}",
                BASE64_STANDARD.encode(format!("{user}:{password}"))
            ),
            user,
        })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// The value of the `Authorization` header: a secret.
    pub(super) fn authorization(&self) -> &str {
        &self.authorization
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {:?}", self.base, self.user)
    }
}

/// The management URI that usually belongs to an AMQP URI. Credentials stay encoded as they are.
pub(super) fn from_amqp(amqp_uri: &str) -> Option<String> {
    let url = Url::parse(amqp_uri).ok()?;
    let (scheme, default_port) = match url.scheme() {
        "amqp" => ("http", 5672),
        "amqps" => ("https", 5671),
        _ => return None,
    };
    let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
    let port = url.port().unwrap_or(default_port).checked_add(PORT_DISTANCE)?;
    let (user, password) = credentials(&url);
    Some(format!("{scheme}://{user}:{password}@{host}:{port}"))
}

/// User and password, still percent-encoded. A user without a password has an empty one.
fn credentials(url: &Url) -> (&str, &str) {
    match (url.username(), url.password()) {
        ("", None) => (DEFAULT_USER, DEFAULT_PASSWORD),
        (user, password) => (user, password.unwrap_or_default()),
    }
}

fn decode(encoded: &str) -> Option<String> {
    percent_decode_str(encoded).decode_utf8().ok().map(|text| text.into_owned())
}
