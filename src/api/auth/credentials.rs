//! In: the header `Authorization`. Out: who somebody says to be. Pure.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::api::problem::{Kind, Problem};

/// Who somebody says to be.
pub enum Credentials {
    /// Of a user of RabbitMQ's.
    Basic { user: String, password: String },
    /// One of ours.
    Token(String),
}

/// Before every token, so that one is known wherever it is found.
pub const TOKEN_PREFIX: &str = "dmt_";

fn refused(detail: &str) -> Problem {
    Problem::new(Kind::Unauthenticated, detail)
}

/// Errors: there are none, or they cannot be read.
pub fn credentials(headers: &HeaderMap) -> Result<Credentials, Problem> {
    let header = headers.get(AUTHORIZATION).ok_or_else(|| {
        refused(
            "there is no Authorization: give a RabbitMQ user and its password as Basic (curl -u user:password), or a \
             token as Bearer",
        )
    })?;
    let text = header.to_str().map_err(|_| refused("the header Authorization is no ASCII"))?;
    let (scheme, value) = text.split_once(' ').unwrap_or((text, ""));
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        if !value.starts_with(TOKEN_PREFIX) {
            return Err(refused("a token begins with dmt_: `dormouse token new` makes one"));
        }
        return Ok(Credentials::Token(value.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refused("the Authorization is neither Basic nor Bearer"));
    }
    let decoded =
        BASE64_STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or_else(|| refused("the Basic credentials are no base64 of UTF-8"))?;
    let (user, password) = decoded
        .split_once(':')
        .ok_or_else(|| refused("the Basic credentials have no colon between user and password"))?;
    // RabbitMQ would take a user without a name for one of its own mechanisms
    if user.is_empty() || decoded.contains('\0') {
        return Err(refused("the Basic credentials name no user"));
    }
    // an address without a password would stand for the usual one
    if password.is_empty() {
        return Err(refused("the Basic credentials have no password"));
    }
    Ok(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        match credentials(&headers).ok()? {
            Credentials::Basic { user, password } => Some((user, password)),
            Credentials::Token(token) => Some(("(token)".into(), token)),
        }
    }

    #[test]
    fn what_is_no_login_is_none() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        let basic = |text: &str| read(&format!("Basic {}", BASE64_STANDARD.encode(text)));
        assert_eq!(basic("guest:guest"), pair("guest", "guest"));
        assert_eq!(basic("a:b:c/%"), pair("a", "b:c/%"));
        assert_eq!(read("bearer dmt_x"), pair("(token)", "dmt_x"));
        for wrong in ["Basic", "Basic !", "Bearer x", "Digest x", "", "Basic dXNlcg=="] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(basic(":x"), None);
        assert_eq!(basic("guest:"), None);
        assert_eq!(basic("a\0b:x"), None);
        assert!(credentials(&HeaderMap::new()).is_err());
    }
}
