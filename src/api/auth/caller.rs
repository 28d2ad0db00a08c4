//! Who asks: taken from each request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

use super::credentials::{Credentials, credentials};
use super::pool::Login;
use super::tokens::{Scope, Token};
use crate::api::destination::Destination;
use crate::api::observed::{Note, Peer};
use crate::api::problem::{Kind, Problem};
use crate::api::state::Api;

/// Who asks, connected as who that is.
#[derive(Clone)]
pub struct Caller {
    /// The user, or `token:` and the token's name. In logs, and before the keys of what is remembered.
    pub name: Arc<str>,
    pub login: Arc<Login>,
    token: Option<Arc<Token>>,
    note: Note,
}

impl Caller {
    /// A user, who is logged in.
    pub fn of(login: Arc<Login>) -> Self {
        Self { name: login.user.clone(), login, token: None, note: Note::default() }
    }

    /// Somebody without a user of RabbitMQ's own, by this name.
    pub fn named(login: Arc<Login>, name: &str) -> Self {
        Self { name: name.into(), ..Self::of(login) }
    }

    /// Whether it has no user of its own.
    pub fn is_token(&self) -> bool {
        self.token.is_some()
    }

    /// A user may try; RabbitMQ decides. A token may what its scopes say.
    pub fn may(&self, scope: Scope) -> Result<(), Problem> {
        self.token.as_ref().map_or(Ok(()), |token| token.may(scope))
    }

    /// Whether it may schedule for that, as far as it is not RabbitMQ's to say.
    pub fn may_reach(&self, destination: Destination<'_>) -> Result<(), Problem> {
        self.token.as_ref().map_or(Ok(()), |token| token.may_reach(destination))
    }

    /// Says what it is about to do, for the line in the log: names and counts, no body.
    pub fn does(&self, what: impl Into<String>) {
        self.note.what(what.into());
    }

    /// Takes so many messages or commands from its rate, if it has one.
    pub fn take(&self, count: usize) -> Result<(), Problem> {
        self.token.as_ref().map_or(Ok(()), |token| token.take(count, Instant::now()))
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let address = of_caller(parts, api);
        let note = parts.extensions.get::<Note>().cloned().unwrap_or_default();
        note.from(address);
        let caller = match credentials(&parts.headers)? {
            Credentials::Basic { user, password } => {
                guest_from_afar(&user, address, api)?;
                let login = api.pool.user(&user, &password, address).await?;
                Self { note, ..Self::of(login) }
            }
            Credentials::Token(text) => {
                let unknown = || Problem::new(Kind::Unauthenticated, "the token is not known");
                let token = api.tokens.find(&text).ok_or_else(unknown)?;
                token.valid(api.clock.now())?;
                let login = api.pool.own().await?;
                let name = format!("token:{}", token.name).into();
                Self { name, login, token: Some(token), note }
            }
        };
        caller.note.who(&caller.name);
        Ok(caller)
    }
}

/// Where a request comes from.
pub fn of_caller(parts: &Parts, api: &Api) -> IpAddr {
    address(peer(parts), &parts.headers, &api.proxies)
}

/// Whether a proxy that is trusted says that its side of the way to the caller has TLS.
pub fn came_over_tls(parts: &Parts, api: &Api) -> bool {
    let says = parts.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    says && is_of_proxy(parts, api)
}

/// Whether a proxy that is trusted has sent it.
pub fn is_of_proxy(parts: &Parts, api: &Api) -> bool {
    let peer = peer(parts).to_canonical();
    api.proxies.iter().any(|network| network.contains(&peer))
}

fn peer(parts: &Parts) -> IpAddr {
    parts.extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0)
}

/// RabbitMQ takes its user guest from its own machine only, and would take this service for it.
/// <https://www.rabbitmq.com/docs/access-control#loopback-users>
pub fn guest_from_afar(user: &str, address: IpAddr, api: &Api) -> Result<(), Problem> {
    if user != "guest" || address.to_canonical().is_loopback() || !api.broker_is_here {
        return Ok(());
    }
    let detail = "the user guest may log in from the machine of RabbitMQ only: make another user";
    Err(Problem::new(Kind::Unauthenticated, detail))
}

/// Whose request it is: that of the peer, or of whom the proxies name that are trusted.
fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let is_proxy =
        |address: IpAddr| proxies.iter().any(|network| network.contains(&address.to_canonical()));
    let named = headers.get_all("x-forwarded-for").iter();
    let named: Vec<&str> =
        named.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
    let mut address = peer;
    // each proxy adds the one it heard it from; the first that is no proxy is who asks
    for name in named.into_iter().rev() {
        if !is_proxy(address) {
            break;
        }
        let Ok(before) = name.trim().parse() else { break };
        address = before;
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_proxies_that_are_trusted_say_whose_request_it_is() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let asked = |peer: &str, forwarded: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            address(peer.parse().unwrap(), &headers, &proxies).to_string()
        };
        assert_eq!(asked("192.0.2.1", "198.51.100.1"), "192.0.2.1");
        assert_eq!(asked("10.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(asked("::ffff:10.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(asked("10.0.0.1", "127.0.0.1, 198.51.100.1, 10.0.0.2"), "198.51.100.1");
        assert_eq!(asked("10.0.0.1", "nonsense"), "10.0.0.1");
    }
}
