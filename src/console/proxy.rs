//! Who a trusted proxy says that somebody is. In: the headers of a request of the proxy's. Out: a name and what it may, or why
//! that is not believed. Pure, but for reading the password once.

use std::path::PathBuf;

use axum::http::{HeaderMap, HeaderName};
use regex::RegexSet;
use sha2::{Digest, Sha256};

use super::sessions::May;
use crate::config::{Config, Console};

/// Only the proxy knows its value beside us: its address alone would be that of every program on its machine.
const PASSWORD: &str = "x-dormouse-proxy-password";
/// Characters of a password at least.
const LEAST: usize = 32;
/// Bytes of a name at most.
const LONGEST: usize = 255;

/// How a proxy's word is taken.
pub struct ProxyLogin {
    user: HeaderName,
    groups: Option<HeaderName>,
    /// Of the password.
    digest: [u8; 32],
    look: RegexSet,
    act: RegexSet,
}

/// Who somebody is, by a proxy's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// `proxy:` and the name: no user of RabbitMQ's.
    pub name: String,
    pub may: May,
}

/// Why a proxy's word does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBrought {
    #[error(
        "the proxy did not send the password of console.proxy_password_file in X-Dormouse-Proxy-Password"
    )]
    NoPassword,
    #[error("the proxy sent the header {0} twice, or what cannot be a name")]
    NoName(HeaderName),
    #[error("{0:?} is let in neither by console.proxy_look nor by console.proxy_act")]
    Nothing(String),
}

/// Why it cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ProxyLoginError {
    #[error("console.proxy_password_file: {} cannot be read: {problem}", path.display())]
    File { path: PathBuf, problem: std::io::Error },
    #[error("console.proxy_password_file: {} has fewer than {LEAST} characters", path.display())]
    Short { path: PathBuf },
    #[error("console.proxy_look or console.proxy_act: {0}")]
    Pattern(#[from] regex::Error),
    #[error("console.proxy_user_header or console.proxy_groups_header is no name of a header")]
    Header(#[from] axum::http::header::InvalidHeaderName),
}

impl ProxyLogin {
    /// As the configuration has it; none if it is off.
    pub fn of(config: &Config) -> Result<Option<Self>, ProxyLoginError> {
        let console = &config.console;
        let Some(path) = console.proxy_password_file.clone() else { return Ok(None) };
        if console.proxy_user_header.is_empty() {
            return Ok(None);
        }
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().len() >= LEAST => Self::with(console, text.trim()).map(Some),
            Ok(_) => Err(ProxyLoginError::Short { path }),
            Err(problem) => Err(ProxyLoginError::File { path, problem }),
        }
    }

    fn with(console: &Console, password: &str) -> Result<Self, ProxyLoginError> {
        let header = |name: &str| HeaderName::from_bytes(name.as_bytes());
        let whole = |patterns: &[String]| {
            RegexSet::new(patterns.iter().map(|pattern| format!(r"\A(?:{pattern})\z")))
        };
        let groups = Some(console.proxy_groups_header.as_str()).filter(|name| !name.is_empty());
        Ok(Self {
            user: header(&console.proxy_user_header)?,
            groups: groups.map(header).transpose()?,
            digest: digest(password.as_bytes()),
            look: whole(&console.proxy_look)?,
            act: whole(&console.proxy_act)?,
        })
    }

    /// Whom the headers of a request name that has come from a trusted proxy; none if nobody is named.
    pub fn who(&self, headers: &HeaderMap) -> Result<Option<Brought>, NotBrought> {
        if !headers.contains_key(&self.user) {
            return Ok(None);
        }
        // digests, so that how long it takes tells nothing of the password
        let password = only(headers, &HeaderName::from_static(PASSWORD)).map(str::as_bytes);
        if password.map(digest) != Some(self.digest) {
            return Err(NotBrought::NoPassword);
        }
        let name = only(headers, &self.user).map(str::trim);
        let is_name = |name: &&str| {
            !name.is_empty() && name.len() <= LONGEST && !name.contains(char::is_control)
        };
        let name = name.filter(is_name).ok_or_else(|| NotBrought::NoName(self.user.clone()))?;
        let mut is = vec![format!("user:{name}")];
        if let Some(header) = self.groups.as_ref().filter(|header| headers.contains_key(*header)) {
            let groups = only(headers, header).ok_or_else(|| NotBrought::NoName(header.clone()))?;
            let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
            is.extend(groups.map(|group| format!("group:{group}")));
        }
        let may = if is.iter().any(|one| self.act.is_match(one)) {
            May::Act
        } else if is.iter().any(|one| self.look.is_match(one)) {
            May::Look
        } else {
            return Err(NotBrought::Nothing(name.to_owned()));
        };
        Ok(Some(Brought { name: format!("proxy:{name}"), may }))
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => std::str::from_utf8(value.as_bytes()).ok(),
        _ => None,
    }
}

fn digest(of: &[u8]) -> [u8; 32] {
    Sha256::digest(of).into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const RIGHT: &str = "0123456789abcdef0123456789abcdef";

    fn login() -> ProxyLogin {
        let console = Console {
            proxy_user_header: "Remote-User".into(),
            proxy_groups_header: "Remote-Groups".into(),
            proxy_look: vec!["user:.*@example".into(), "group:staff|group:guests".into()],
            proxy_act: vec!["group:ops".into(), "user:root".into()],
            ..Console::default()
        };
        ProxyLogin::with(&console, RIGHT).unwrap()
    }

    fn who(headers: &[(&'static str, &str)]) -> Result<Option<(String, May)>, NotBrought> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        login().who(&map).map(|who| who.map(|Brought { name, may }| (name, may)))
    }

    #[test]
    fn a_proxy_brings_whom_the_operator_lets_in() {
        let password = ("x-dormouse-proxy-password", RIGHT);
        let brought = |user: &str, groups: &str| {
            who(&[password, ("remote-user", user), ("remote-groups", groups)])
        };
        let (look, act) = (May::Look, May::Act);
        assert_eq!(brought("ann", "x, ops"), Ok(Some(("proxy:ann".into(), act))));
        assert_eq!(brought("ann", "staff"), Ok(Some(("proxy:ann".into(), look))));
        assert_eq!(brought("zoë@example", ""), Ok(Some(("proxy:zoë@example".into(), look))));
        assert_eq!(brought("root", "staff"), Ok(Some(("proxy:root".into(), act))));
        // a user is no group, and a part is not the whole
        for (user, groups) in
            [("ops", ""), ("group:ops", ""), ("ann", "ops2"), ("rooty", "user:root")]
        {
            assert_eq!(brought(user, groups), Err(NotBrought::Nothing(user.into())));
        }
        assert_eq!(who(&[password]), Ok(None), "nobody is named");
        assert_eq!(who(&[password, ("remote-user", "root")]), Ok(Some(("proxy:root".into(), act))));
    }

    #[test]
    fn a_password_is_long_and_can_be_read() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("password");
        let mut config = Config::default();
        config.console.proxy_user_header = "Remote-User".into();
        assert!(matches!(ProxyLogin::of(&config), Ok(None)), "off without a password");
        config.console.proxy_password_file = Some(path.clone());
        assert!(matches!(ProxyLogin::of(&config), Err(ProxyLoginError::File { .. })));
        std::fs::write(&path, "short\n").unwrap();
        assert!(matches!(ProxyLogin::of(&config), Err(ProxyLoginError::Short { .. })));
        std::fs::write(&path, format!("{RIGHT}\n")).unwrap();
        assert!(matches!(ProxyLogin::of(&config), Ok(Some(_))));
    }

    #[test]
    fn what_is_not_the_proxys_word_is_not_believed() {
        let (password, user) = (("x-dormouse-proxy-password", RIGHT), ("remote-user", "root"));
        for wrong in [
            &[user][..],
            &[user, (password.0, "0123456789abcdef0123456789abcdeF")],
            &[user, (password.0, "")],
            &[user, password, password],
        ] {
            assert_eq!(who(wrong), Err(NotBrought::NoPassword), "{wrong:?}");
        }
        // one that the browser sent goes before or after the proxy's own
        for wrong in
            [&[password, user, user][..], &[password, (user.0, " ")], &[password, (user.0, "a\tb")]]
        {
            assert!(matches!(who(wrong), Err(NotBrought::NoName(_))), "{wrong:?}");
        }
        let twice = [password, user, ("remote-groups", "a"), ("remote-groups", "ops")];
        assert!(matches!(who(&twice), Err(NotBrought::NoName(_))));
    }
}
