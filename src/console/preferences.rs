//! Light or dark: by the browser's own setting, or as a person said here.

use axum::http::HeaderMap;
use axum::http::header::{COOKIE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::site::Site;

/// Its cookie.
pub const THEME: &str = "dormouse-theme";

/// What was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub fn of(headers: &HeaderMap) -> Self {
        let chosen = cookie(headers, THEME);
        Self::ALL.into_iter().find(|theme| chosen == Some(theme.as_str())).unwrap_or(Self::Auto)
    }
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(of, _)| of.trim() == name).map(|(_, value)| value.trim())
}

/// A path of ours to go back to; the first page for what is none.
pub fn back(site: &Site, next: Option<&str>) -> String {
    let base = &site.api.config.console.base_path;
    next.filter(|next| is_path(base, next)).map_or_else(|| site.at("/"), str::to_owned)
}

fn is_path(base: &str, next: &str) -> bool {
    next.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'))
        && !next.starts_with("//")
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Sends the browser there.
pub fn see_other(to: &str) -> Response {
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        assert!(is_path("", "/list?state=any&x=%20") && is_path("/d", "/d/"));
        for wrong in ["", "list", "//evil", "/\\evil", "https://evil", "/a b", "/\r\nx", "/ä"] {
            assert!(!is_path("", wrong), "{wrong:?}");
        }
        for wrong in ["/", "/dx", "/d", "/e/d/"] {
            assert!(!is_path("/d", wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; dormouse-theme=dark"));
        headers.append(COOKIE, HeaderValue::from_static("b=x=y"));
        assert_eq!(Theme::of(&headers), Theme::Dark);
        assert_eq!(cookie(&headers, "b"), Some("x=y"));
        assert_eq!(cookie(&headers, "c"), None);
        assert_eq!(Theme::of(&HeaderMap::new()), Theme::Auto);
    }
}
