//! A page of another site must not act with what a browser remembers of a login here.
//! <https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site>

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Kind, Problem};

/// Around every route.
pub async fn guard(request: Request, next: Next) -> Response {
    if is_from_here(request.headers()) {
        return next.run(request).await;
    }
    let detail = "a page of another site asks, by what a browser remembers of a login here: no browser is let in that way";
    Problem::new(Kind::Forbidden, detail).into_response()
}

/// Only browsers send these headers, and no page can change them.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let origin = text(ORIGIN.as_str()).map(|origin| origin.split_once("://").unwrap_or_default().1);
    match text("sec-fetch-site") {
        Some(site) => matches!(site, "same-origin" | "none"),
        // those of addresses without TLS
        None => origin.is_none_or(|origin| text(HOST.as_str()) == Some(origin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_another_site_are_kept_out() {
        let is_let_in = |all: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                headers.insert(*name, value.parse().unwrap());
            }
            is_from_here(&headers)
        };
        let host = ("host", "here.example:15791");
        assert!(is_let_in(&[host]), "curl");
        assert!(is_let_in(&[host, ("sec-fetch-site", "none")]), "an address that somebody typed");
        assert!(is_let_in(&[host, ("origin", "http://here.example:15791")]));
        for site in ["cross-site", "same-site", "", "x"] {
            assert!(!is_let_in(&[host, ("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["https://evil.example", "http://here.example", "null", ""] {
            assert!(!is_let_in(&[host, ("origin", origin)]), "{origin}");
        }
    }
}
