//! Tokens of callers without a RabbitMQ user. In: the lines of a file. Out: what the one who shows a token may. Pure,
//! but for the chance in a new one.
//!
//! A line is a JSON object; empty lines and lines that begin with `#` are passed over. The file has a token's SHA-256,
//! never the token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use dormouse_client::{Rate, TokenBucket};
use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::credentials::TOKEN_PREFIX;
use crate::api::destination::Destination;
use crate::api::problem::{Kind, Problem};
use crate::schedule::UnixMs;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Schedule messages for its targets.
    Schedule,
    /// Cancel, put off and run now by any key, and schedule uniquely.
    Command,
    /// Look at levels, workers, the topology, the DLQ and the index.
    Read,
    /// Redrive and purge the DLQ, and try endpoints out.
    Operate,
}

/// A line of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Whose it is, for logs.
    pub name: String,
    /// Of the token, in hexadecimal digits.
    pub sha256: String,
    pub scopes: Vec<Scope>,
    /// Regular expressions for `queue:NAME`, `exchange:NAME:ROUTING_KEY` and `endpoint:NAME`, each for the whole of it.
    /// The scope schedule needs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Messages and commands a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<jiff::Timestamp>,
}

/// What the one who shows a token may.
#[derive(Debug)]
pub struct Token {
    pub name: Arc<str>,
    scopes: Vec<Scope>,
    targets: Vec<Regex>,
    expires: Option<jiff::Timestamp>,
    bucket: Option<Mutex<TokenBucket>>,
}

/// By their SHA-256.
pub type Tokens = HashMap<[u8; 32], Arc<Token>>;

/// Why a file of tokens cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TokensFault {
    pub line: usize,
    pub problem: String,
}

/// A token and its line. The token is shown once and kept nowhere.
pub struct NewToken {
    pub token: String,
    pub line: Line,
}

impl Scope {
    pub const ALL: [Scope; 4] = [Scope::Schedule, Scope::Command, Scope::Read, Scope::Operate];

    pub fn name(self) -> &'static str {
        match self {
            Scope::Schedule => "schedule",
            Scope::Command => "command",
            Scope::Read => "read",
            Scope::Operate => "operate",
        }
    }
}

/// The SHA-256 of a token: it has more chance in it than anybody can try, so no slow hash is needed.
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Line {
    /// With a token of 256 bits.
    pub fn issue(mut self) -> NewToken {
        let halves = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let chance: Vec<u8> = halves.iter().flat_map(|half| *half.as_bytes()).collect();
        let token =
            format!("{TOKEN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(chance)));
        self.sha256 = hex(&digest(&token));
        NewToken { token, line: self }
    }

    /// Errors: in words, what is wrong with it.
    pub fn checked(&self) -> Result<([u8; 32], Token), String> {
        if self.name.is_empty() {
            return Err("the name is empty".into());
        }
        let digest = from_hex(&self.sha256).ok_or("sha256 has not 64 hexadecimal digits")?;
        if self.scopes.is_empty() {
            return Err("there are no scopes: schedule, command, read or operate".into());
        }
        if self.scopes.contains(&Scope::Schedule) && self.targets.is_empty() {
            return Err("the scope schedule needs targets, such as [\"queue:mail\"]".into());
        }
        if self.rate == Some(0) {
            return Err("the rate is 0: leave it out for none, or take the token out".into());
        }
        let whole = |pattern: &String| {
            Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
                format!(
                    "{pattern:?} is not a regular expression: {}",
                    last_line(&error.to_string())
                )
            })
        };
        let targets = self.targets.iter().map(whole).collect::<Result<_, _>>()?;
        let bucket = self.rate.map(|rate| {
            // what came in a quiet second may come at once, a small batch too
            Mutex::new(TokenBucket::new(Rate::new(rate, Duration::from_secs(1)).burst(rate)))
        });
        let (name, scopes) = (self.name.as_str().into(), self.scopes.clone());
        Ok((digest, Token { name, scopes, targets, expires: self.expires, bucket }))
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default().trim()
}

/// Errors: the first line that cannot be used, or a token that is there twice.
pub fn read(text: &str) -> Result<Tokens, TokensFault> {
    let mut tokens = Tokens::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let fault = |problem: String| TokensFault { line: number, problem };
        let read: Line = serde_json::from_str(line).map_err(|error| fault(error.to_string()))?;
        let (digest, token) = read.checked().map_err(fault)?;
        if tokens.insert(digest, Arc::new(token)).is_some() {
            return Err(fault("the token is there twice".into()));
        }
    }
    Ok(tokens)
}

impl Token {
    /// Whether it is still good at `now`.
    pub fn valid(&self, now: UnixMs) -> Result<(), Problem> {
        let is_over = self
            .expires
            .is_some_and(|expires| i128::from(now.0) >= i128::from(expires.as_millisecond()));
        if !is_over {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Unauthenticated,
            format!("the token of {:?} has expired", self.name),
        ))
    }

    pub fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let (name, scope) = (&self.name, scope.name());
        let detail = format!("the token of {name:?} has not the scope {scope}");
        Err(Problem::new(Kind::Forbidden, detail).with("scope", scope))
    }

    /// Whether it may schedule for that.
    pub fn may_reach(&self, destination: Destination<'_>) -> Result<(), Problem> {
        let target = destination.to_string();
        if self.targets.iter().any(|pattern| pattern.is_match(&target)) {
            return Ok(());
        }
        let detail = format!("the token of {:?} has no target that matches {target:?}", self.name);
        Err(Problem::new(Kind::TargetForbidden, detail).with("target", target))
    }

    /// Takes so many messages or commands from its rate: all, or none of them.
    pub fn take(&self, count: usize, now: Instant) -> Result<(), Problem> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let mut bucket = bucket.lock().expect("no panic while tokens are counted");
        let mut after = bucket.clone();
        for _ in 0..count {
            if let Err(at) = after.take(now) {
                let wait = at.saturating_duration_since(now);
                let detail = format!("the token of {:?} has used its rate up", self.name);
                return Err(Problem::new(Kind::RateLimited, detail).retry_after(wait));
            }
        }
        *bucket = after;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            name: "shop".into(),
            sha256: String::new(),
            scopes: vec![Scope::Schedule],
            targets: vec![
                r"queue:mail\..*".into(),
                "exchange:orders:eu".into(),
                "endpoint:billing".into(),
            ],
            rate: Some(10),
            expires: Some("2027-01-01T00:00:00Z".parse().unwrap()),
        }
    }

    #[test]
    fn a_new_token_is_found_by_its_line_and_never_stands_in_it() {
        let NewToken { token, line } = line().issue();
        let text = serde_json::to_string(&line).unwrap();
        assert!(token.starts_with("dmt_") && token.len() == 4 + 43, "{token}");
        assert!(!text.contains(&token[4..]));
        let tokens = read(&format!("# ours\n\n{text}\n")).unwrap();
        let found = &tokens[&digest(&token)];
        assert_eq!(&*found.name, "shop");
        assert!(!tokens.contains_key(&digest("dmt_x")));
        assert!(read(&format!("{text}\n{text}")).unwrap_err().problem.contains("twice"));
    }

    #[test]
    fn a_token_may_what_its_line_says_and_no_more() {
        let token = line().issue().line.checked().unwrap().1;
        assert!(token.may(Scope::Schedule).is_ok() && token.may(Scope::Operate).is_err());
        let reaches = |destination| token.may_reach(destination).is_ok();
        let exchange = |exchange, routing_key| Destination::Exchange { exchange, routing_key };
        let endpoint = |endpoint| Destination::Endpoint { endpoint, path: "/x" };
        for may in [Destination::Queue("mail.a"), exchange("orders", "eu"), endpoint("billing")] {
            assert!(reaches(may), "{may}");
        }
        for not in ["mail", "xmail.a", "orders:eu", "billing"].map(Destination::Queue) {
            assert!(!reaches(not), "{not}");
        }
        assert!(!reaches(exchange("orders", "eu2")) && !reaches(endpoint("mail.a")));
        let ms = |text: &str| {
            UnixMs(text.parse::<jiff::Timestamp>().unwrap().as_millisecond().unsigned_abs())
        };
        assert!(token.valid(ms("2026-12-31T23:59:59Z")).is_ok());
        assert!(token.valid(ms("2027-01-01T00:00:00Z")).is_err());
        let now = Instant::now();
        assert!(token.take(11, now).is_err());
        assert!(token.take(10, now).is_ok() && token.take(1, now).is_err());
        assert!(token.take(1, now + Duration::from_millis(110)).is_ok());
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named() {
        let good = line().issue().line;
        let faults = [
            (Line { targets: Vec::new(), ..good.clone() }, "targets"),
            (Line { targets: vec!["(".into()], ..good.clone() }, "regular expression"),
            (Line { scopes: Vec::new(), ..good.clone() }, "scopes"),
            (Line { sha256: "é".repeat(32), ..good.clone() }, "hexadecimal"),
            (Line { rate: Some(0), ..good.clone() }, "rate"),
            (Line { name: String::new(), ..good }, "name"),
        ];
        for (line, said) in faults {
            let text = format!("\n{}", serde_json::to_string(&line).unwrap());
            let fault = read(&text).unwrap_err();
            assert!(fault.line == 2 && fault.problem.contains(said), "{fault}");
        }
        assert_eq!(read("{}").unwrap_err().line, 1);
    }
}
