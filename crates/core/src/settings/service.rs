//! In: nothing. Out: what a process does, and the HTTP API's settings.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

/// What a process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Names of [`Role`]s, at least one.
    pub roles: Vec<String>,
}

/// One thing that a process may do, beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Plans and delivers.
    Worker,
    /// Reads the ledger into a file.
    Index,
    /// Answers HTTP.
    Api,
    /// Sends webhooks.
    Webhooks,
    /// Shows people what sleeps.
    Console,
}

/// The HTTP API.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    /// Where it answers; absent means nowhere, which the role does not take.
    pub listen: Option<SocketAddr>,
    /// PEM file of the certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
    /// Tokens, a line each.
    pub tokens_file: Option<PathBuf>,
    /// Networks ([`network`]) of proxies that end TLS and tell whose request it is.
    pub trusted_proxies: Vec<String>,
    /// Connections at once.
    pub max_connections: u32,
    /// Of one request, and so of a batch.
    pub max_body_bytes: u64,
    /// Whether `/delay/task/…` is answered.
    pub delay_service: bool,
}

impl Role {
    /// In the order in which they are named.
    pub const ALL: [Role; 5] =
        [Role::Worker, Role::Index, Role::Api, Role::Webhooks, Role::Console];

    /// In `service.roles`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Worker => "worker",
            Role::Index => "index",
            Role::Api => "api",
            Role::Webhooks => "webhooks",
            Role::Console => "console",
        }
    }
}

impl Service {
    /// Whether it answers HTTP at `api.listen`.
    pub fn answers_http(&self) -> bool {
        self.has(Role::Api) || self.has(Role::Console)
    }

    /// Whether a process with this configuration does that.
    pub fn has(&self, role: Role) -> bool {
        self.roles.iter().any(|name| name == role.name())
    }
}

impl Default for Service {
    fn default() -> Self {
        Self { roles: vec![Role::Worker.name().to_owned()] }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: Some(([127, 0, 0, 1], 15_791).into()),
            cert_file: None,
            key_file: None,
            tokens_file: None,
            trusted_proxies: Vec::new(),
            max_connections: 4_096,
            max_body_bytes: 16 * 1024 * 1024,
            delay_service: false,
        }
    }
}

impl Api {
    /// Who may speak to it without TLS. What is no network is left out; a checked configuration has none of these.
    pub fn proxies(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|text| network(text)).collect()
    }
}

/// `10.0.0.0/8`, `2001:db8::/32`, or an address by itself.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        let has = |text: &str, address: &str| {
            network(text).unwrap().contains(&address.parse::<IpAddr>().unwrap())
        };
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("10.1.2.3", "10.1.2.3") && !has("10.1.2.3", "10.1.2.2"));
        assert!(has("2001:db8::/32", "2001:db8:1::") && !has("2001:db8::/32", "2001:db9::"));
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/x", "host", "10.0.0.0/", "::/129"] {
            assert_eq!(network(wrong), None, "{wrong}");
        }
    }
}
