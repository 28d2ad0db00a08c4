//! A URI whose credentials are never shown.

use std::fmt;
use std::net::IpAddr;

/// An AMQP or HTTP address with its credentials. `Debug` and `Display` mask the password, also one
/// that was typed without percent-encoding, and every query parameter not known to be harmless.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri(String);

/// The query parameters of RabbitMQ's URI specification that hold no secret.
/// <https://www.rabbitmq.com/docs/uri-query-parameters>
const HARMLESS: [&str; 12] = [
    "auth_mechanism",
    "cacertfile",
    "certfile",
    "channel_max",
    "connection_timeout",
    "depth",
    "fail_if_no_peer_cert",
    "frame_max",
    "heartbeat",
    "keyfile",
    "server_name_indication",
    "verify",
];

/// The pieces of a well-formed URI, still percent-encoded.
struct Pieces<'a> {
    userinfo: Option<&'a str>,
    path: Option<&'a str>,
}

impl Uri {
    /// Any text: whether it is an address is checked with the configuration.
    pub fn new(uri: impl Into<String>) -> Self {
        Self(uri.into())
    }

    /// The address as given, password included: for connecting, never for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `amqp`, `amqps`, `http` or `https` once checked; empty if this is no URI.
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The virtual host of an AMQP URI, decoded: `/` if it names none, `None` if malformed.
    /// <https://www.rabbitmq.com/docs/uri-spec>
    pub fn virtual_host(&self) -> Option<String> {
        match self.pieces().ok()?.path {
            None => Some("/".into()),
            Some(path) => decode(path),
        }
    }

    /// The same broker and user, with another virtual host.
    pub fn in_virtual_host(&self, name: &str) -> Self {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(r, q)| (r, Some(q)));
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        Self(format!("{scheme}://{authority}/{name}{query}"))
    }

    /// Whether it names this machine's loopback interface.
    pub fn is_loopback(&self) -> bool {
        match url::Url::parse(&self.0).ok().and_then(|url| url.host().map(|host| host.to_owned())) {
            // no special scheme, so an IPv4 address comes as a name
            Some(url::Host::Domain(name)) => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
    }

    /// What is wrong with it as an address with one of these schemes, without a word of its secrets.
    pub(super) fn problem(&self, schemes: [&str; 2]) -> Option<String> {
        let expected = format!("must start with {}:// or {}://", schemes[0], schemes[1]);
        if !schemes.contains(&self.scheme()) {
            return Some(expected);
        }
        let pieces = match self.pieces() {
            Ok(pieces) => pieces,
            Err(problem) => return Some(problem.into()),
        };
        if schemes.contains(&"http") && self.0.contains('?') {
            return Some("has a ?, which has no meaning here; write %3F in a password".into());
        }
        let undecodable =
            [pieces.userinfo, pieces.path].into_iter().flatten().any(|p| decode(p).is_none());
        undecodable.then(|| "has a % that starts no UTF-8 character; write %25 for %".into())
    }

    fn pieces(&self) -> Result<Pieces<'_>, &'static str> {
        let (_, rest) = self.0.split_once("://").ok_or("is not a URI")?;
        if self.0.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("has a space or control character; percent-encode it");
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        if after.contains('@') {
            return Err("has / ? # or @ in the wrong place; write %2F %3F %23 %40");
        }
        if after.contains('#') {
            return Err("has a #; write %23");
        }
        let (userinfo, address) = match authority.rsplit_once('@') {
            Some((userinfo, address)) => (Some(userinfo), address),
            None => (None, authority),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (address, None),
        };
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err("has a port that is no number up to 65535, or lacks its @host");
        }
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let named = |host: &str| {
            !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || "-._".contains(c))
        };
        match inside {
            Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => {}
            None if named(host) => {}
            Some(_) | None => return Err("names no host"),
        }
        let path = after.split('?').next().unwrap_or_default();
        Ok(Pieces { userinfo, path: path.strip_prefix('/') })
    }
}

/// The host of `host:port/…` if what stands for the port is no number.
fn host_before_a_bad_port(address: &str) -> Option<&str> {
    let host_end = address.find(']').map_or(0, |bracket| bracket + 1);
    let colon = host_end + address[host_end..].find(':')?;
    let (host, after) = (&address[..colon], &address[colon + 1..]);
    let port = after.split(['/', '?', '#']).next().unwrap_or_default();
    (!host.contains(['/', '?', '#']) && port.parse::<u16>().is_err()).then_some(host)
}

/// Percent-decoded, or nothing if that is not UTF-8 or a `%` is not followed by two hex digits.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str("(not a URI)");
        };
        if scheme.is_empty()
            || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        {
            return f.write_str("(not a URI)");
        }
        // The last @ of all: a password typed without percent-encoding may hold @ / ? and # itself.
        // What follows is then the host; what comes before is shown up to the first colon.
        let (user, shown) = match rest.rsplit_once('@') {
            Some((userinfo, shown)) => (userinfo.split([':', '/', '?', '#']).next(), shown),
            None => (None, rest),
        };
        write!(f, "{scheme}://")?;
        if let Some(user) = user {
            write!(f, "{user}:***@")?;
        }
        // "amqp://user:password", the host forgotten, looks like a host and its port
        if let Some(host) = host_before_a_bad_port(shown) {
            return write!(f, "{host}:***");
        }
        let (address, query) = match shown.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (shown, None),
        };
        f.write_str(address.split('#').next().unwrap_or_default())?;
        for (index, parameter) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            match parameter.split_once('=') {
                Some((name, value)) if HARMLESS.contains(&name) && !value.contains('#') => {
                    write!(f, "{name}={value}")?;
                }
                Some((name, _)) => write!(f, "{name}=***")?,
                None => f.write_str("***")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
