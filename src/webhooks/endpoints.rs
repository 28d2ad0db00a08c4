//! The file of endpoints. In: its text. Out: where webhooks go, with what secrets, or every fault at once. Pure.
//!
//! ```toml
//! allow = ["10.0.0.0/8"]          # networks inside that may be reached; what is public always may
//!
//! [[endpoint]]
//! name = "billing"
//! url = "https://billing.example.com/hooks"
//! secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
//! old_secrets = [{ secret = "whsec_…", expires = 2026-12-01T00:00:00Z }]
//! timeout = "20s"                 # for a whole request, 1 s to 60 s
//! rate = 50                       # requests a second; what is more comes later
//! disabled = false                # its messages go to the DLQ, to be sent again later
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dormouse_core::schedule::UnixMs;
use dormouse_core::settings::{self, durations};
use hyper::Uri;
use ipnet::IpNet;
use serde::Deserialize;

use super::pace::Pace;
use super::signature::Secret;

/// Where a webhook goes.
#[derive(Debug)]
pub struct Endpoint {
    /// As messages call it.
    pub name: String,
    /// `http` or `https`, with a host and without a fragment. The path of a message is appended.
    pub url: Uri,
    /// Each that has not expired signs.
    pub secrets: Vec<Secret>,
    /// Of a whole request.
    pub timeout: Duration,
    /// Its messages go to the DLQ.
    pub disabled: bool,
    /// Requests a second. None: as many as come.
    pub rate: Option<u32>,
    pace: Option<Mutex<Pace>>,
}

/// All of a file.
#[derive(Debug, Default)]
pub struct Endpoints {
    /// Networks inside that may be reached.
    pub allow: Vec<IpNet>,
    by_name: BTreeMap<String, Arc<Endpoint>>,
}

/// What is wrong in the file: a line for each fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

/// A path of a message that would leave its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path is no path below an endpoint: begin it with /, without //, .., # and blanks")]
pub struct PathFault;

const USUAL_TIMEOUT: Duration = Duration::from_secs(20);
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(60);
/// Of a name and of a path, in bytes.
const LONGEST_NAME: usize = 64;
const LONGEST_PATH: usize = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    endpoint: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    url: String,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    old_secrets: Vec<OldSecret>,
    timeout: Option<String>,
    rate: Option<u32>,
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldSecret {
    secret: String,
    expires: toml::value::Datetime,
}

impl Endpoints {
    /// Errors: every fault of the file.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        // its error shows the line, and with it a secret
        let file: File =
            toml::from_str(text).map_err(|error| Faults(vec![in_words(&error, text)]))?;
        let mut faults = Vec::new();
        let mut endpoints = Self::default();
        for network in &file.allow {
            match settings::network(network) {
                Some(network) => endpoints.allow.push(network),
                None => faults.push(format!(
                    "allow: {network:?} is no network: write 10.0.0.0/8, or an address"
                )),
            }
        }
        for written in file.endpoint {
            let name = written.name.clone();
            match written.read() {
                Ok(endpoint) => {
                    if endpoints.by_name.insert(name.clone(), endpoint.into()).is_some() {
                        faults.push(format!("endpoint {name:?} is there twice"));
                    }
                }
                Err(of_one) => {
                    faults.extend(
                        of_one.into_iter().map(|fault| format!("endpoint {name:?}: {fault}")),
                    );
                }
            }
        }
        if faults.is_empty() { Ok(endpoints) } else { Err(Faults(faults)) }
    }

    /// By the name that a message gives.
    pub fn get(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.by_name.get(name)
    }

    /// In the order of their names.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.by_name.values()
    }
}

fn in_words(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

impl Written {
    fn read(self) -> Result<Endpoint, Vec<String>> {
        let Self { name, url, secrets, old_secrets, timeout, rate, disabled } = self;
        let mut faults = Vec::new();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
            faults.push(format!("a name has 1 to {LONGEST_NAME} letters, digits, -, _ and ."));
        }
        let url = readable(&url).unwrap_or_else(|fault| {
            faults.push(format!("url: {fault}"));
            Uri::default()
        });
        let timeout = match timeout.as_deref().map(durations::parse_duration) {
            None => USUAL_TIMEOUT,
            Some(Ok(timeout)) if TIMEOUTS.contains(&timeout) => timeout,
            Some(_) => {
                faults.push("timeout is to be 1s to 60s".to_owned());
                USUAL_TIMEOUT
            }
        };
        if rate == Some(0) {
            faults.push("rate is 0: leave it out for none, or set disabled".to_owned());
        }
        let mut read = Vec::new();
        let secrets = secrets.into_iter().map(|secret| (secret, None));
        let old =
            old_secrets.into_iter().map(|OldSecret { secret, expires }| (secret, Some(expires)));
        for (at, (secret, expires)) in secrets.chain(old).enumerate() {
            let moment = expires.map(|expires| expires.to_string().parse::<jiff::Timestamp>());
            let expires = match moment.transpose() {
                Ok(expires) => {
                    expires.map(|at| UnixMs(u64::try_from(at.as_millisecond()).unwrap_or(0)))
                }
                Err(_) => {
                    faults
                        .push(format!("secret {}: expires is to be a time with its zone", at + 1));
                    continue;
                }
            };
            match Secret::parse(&secret, expires) {
                Ok(secret) => read.push(secret),
                Err(fault) => faults.push(format!("secret {}: {fault}", at + 1)),
            }
        }
        if faults.is_empty() {
            let pace = rate.map(|rate| Mutex::new(Pace::new(rate)));
            Ok(Endpoint { name, url, secrets: read, timeout, disabled, rate, pace })
        } else {
            Err(faults)
        }
    }
}

fn readable(url: &str) -> Result<Uri, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "it is none")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("it has to begin with http:// or https://");
    }
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.host().is_empty() {
        return Err("it has no host");
    }
    if authority.as_str().contains('@') {
        return Err("user and password do not belong there: receivers check the signature");
    }
    if uri.query().is_some() || url.contains('#') {
        return Err("it has a query or a fragment, and a path is to be appended to it");
    }
    Ok(uri)
}

impl Endpoint {
    /// The address of a message with this path.
    ///
    /// Errors: it would lead elsewhere than below the endpoint.
    pub fn address(&self, path: &str) -> Result<Uri, PathFault> {
        if path.is_empty() {
            return Ok(self.url.clone());
        }
        check_path(path)?;
        let base = self.url.to_string();
        format!("{}{path}", base.trim_end_matches('/')).parse().map_err(|_| PathFault)
    }

    /// Scheme, host and port: a path may be known to few.
    pub fn origin(&self) -> String {
        let (scheme, authority) = (self.url.scheme_str(), self.url.authority());
        format!("{}://{}", scheme.unwrap_or_default(), authority.map_or("", |host| host.as_str()))
    }

    /// Takes a request from its rate.
    ///
    /// Errors: there is none now; come at that time.
    pub fn take(&self, now: Instant) -> Result<(), Instant> {
        let Some(pace) = &self.pace else { return Ok(()) };
        pace.lock().expect("no panic while a request is counted").take(now)
    }
}

/// Whether a path may stand below an endpoint's.
///
/// Errors: it would lead elsewhere.
pub fn check_path(path: &str) -> Result<(), PathFault> {
    let (before, _) = path.split_once('?').unwrap_or((path, ""));
    let decoded = percent_encoding::percent_decode_str(before).decode_utf8_lossy();
    let climbs = decoded.split(['/', '\\']).any(|part| part == ".." || part == ".");
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    let is_below = path.starts_with('/') && !decoded.contains("//") && !decoded.contains('\\');
    if !is_below || climbs || !is_plain || path.contains('#') || path.len() > LONGEST_PATH {
        return Err(PathFault);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(url: &str) -> Arc<Endpoint> {
        let text = format!("[[endpoint]]\nname = \"a\"\nurl = {url:?}\n");
        Endpoints::parse(&text).unwrap().get("a").unwrap().clone()
    }

    #[test]
    fn every_fault_is_told_and_no_secret_is_shown() {
        let text = r#"
            allow = ["10.0.0.0/8", "127.0.0.1", "inside"]
            [[endpoint]]
            name = "a b"
            url = "ftp://x"
            secrets = ["whsec_AAAA"]
            timeout = "2m"
            rate = 0
            [[endpoint]]
            name = "c"
            url = "https://u:p@c.example/"
            [[endpoint]]
            name = "d"
            url = "https://d.example/"
            old_secrets = [{ secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", expires = 2026-12-01 }]
            [[endpoint]]
            name = "e"
            url = "https://e.example/?x=1"
        "#;
        let Faults(faults) = Endpoints::parse(text).unwrap_err();
        let expected = [
            "allow: \"inside\"",
            "\"a b\": a name",
            "\"a b\": url",
            "\"a b\": timeout",
            "\"a b\": rate",
            "\"a b\": secret 1",
            "\"c\": url: user",
            "\"d\": secret 1: expires",
            "\"e\": url: it has a query",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{fault} / {expected}");
        }
        let unknown =
            "\n[[endpoint]]\nname = \"a\"\nurl = \"https://a\"\nsecret = \"whsec_hidden\"\n";
        let Faults(faults) = Endpoints::parse(unknown).unwrap_err();
        assert!(faults[0].starts_with("line 5: unknown field `secret`"), "{faults:?}");
        assert!(!faults[0].contains("hidden"));
    }

    #[test]
    fn a_path_stays_below_its_endpoint() {
        let endpoint = one("https://a.example:8443/hooks/");
        let address = |path| endpoint.address(path).map(|uri| uri.to_string());
        let whole = |path: &str| Ok(format!("https://a.example:8443/hooks{path}"));
        assert_eq!(address(""), whole("/"));
        assert_eq!(address("/order/7?x=1"), whole("/order/7?x=1"));
        assert_eq!(address("/..hidden/a..b"), whole("/..hidden/a..b"));
        let bad = [
            "order",
            "//evil.example/",
            "/../admin",
            "/a/../../b",
            "/%2e%2e/admin",
            "/a/%2E%2E",
            "/a//b",
            "/a b",
            "/a#b",
            "/a\r\nx",
            "\\evil",
            "/..\\x",
            "@evil.example/",
            ".evil.example/",
            "/ü",
            "/./a",
        ];
        for path in bad {
            assert_eq!(address(path), Err(PathFault), "{path:?}");
        }
        assert_eq!(address(&format!("/{}", "x".repeat(LONGEST_PATH))), Err(PathFault));
    }
}
