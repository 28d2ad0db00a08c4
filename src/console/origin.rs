//! Whether a request that acts comes from a page of ours. In: its headers. Out: why not. Pure.
//!
//! A browser says in `Sec-Fetch-Site` whose page it was, which no page can set; over plain HTTP from another machine it says
//! only `Origin`. What says neither is no browser's form.

use axum::http::HeaderMap;
use url::Url;

/// Why it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    #[error("it comes from a page of another site")]
    OtherSite,
    #[error("it does not say whose page it comes from: neither Sec-Fetch-Site nor Origin is there")]
    Silent,
}

/// `host` is what the browser calls us, with its port if that is not the usual one.
pub fn is_ours(headers: &HeaderMap, host: Option<&str>) -> Result<(), Foreign> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return if site == "same-origin" { Ok(()) } else { Err(Foreign::OtherSite) };
    }
    let Some(origin) = text("origin") else { return Err(Foreign::Silent) };
    let origin = Url::parse(origin).ok();
    let named = origin.as_ref().and_then(|origin| {
        let name = origin.host_str()?;
        Some(origin.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}")))
    });
    match (named, host) {
        (Some(named), Some(host)) if named.eq_ignore_ascii_case(usual(host)) => Ok(()),
        _ => Err(Foreign::OtherSite),
    }
}

/// Without the port that its scheme has anyway.
fn usual(host: &str) -> &str {
    host.strip_suffix(":443").or_else(|| host.strip_suffix(":80")).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_ours_may_act() {
        let asked = |headers: &[(&'static str, &str)], host: &str| {
            let pairs = headers.iter().map(|(name, value)| {
                (axum::http::HeaderName::from_static(name), value.parse().unwrap())
            });
            is_ours(&pairs.collect(), Some(host))
        };
        let site = |site: &str| asked(&[("sec-fetch-site", site)], "h");
        assert_eq!(site("same-origin"), Ok(()));
        for other in ["cross-site", "same-site", "none", ""] {
            assert_eq!(site(other), Err(Foreign::OtherSite), "{other}");
        }
        let both = [("sec-fetch-site", "cross-site"), ("origin", "http://h")];
        assert_eq!(asked(&both, "h"), Err(Foreign::OtherSite));
        let origin = |origin: &str, host: &str| asked(&[("origin", origin)], host);
        assert_eq!(origin("http://h:15791", "h:15791"), Ok(()));
        assert_eq!(origin("https://H", "h:443"), Ok(()));
        assert_eq!(origin("http://[::1]:15791", "[::1]:15791"), Ok(()));
        for (other, host) in [
            ("null", "h"),
            ("http://h:1", "h"),
            ("http://h.evil", "h"),
            ("http://evil", "h"),
            ("", "h"),
        ] {
            assert_eq!(origin(other, host), Err(Foreign::OtherSite), "{other}");
        }
        assert_eq!(asked(&[], "h"), Err(Foreign::Silent));
        assert_eq!(is_ours(&HeaderMap::new(), None), Err(Foreign::Silent));
    }
}
