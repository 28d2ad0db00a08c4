//! The style, the script and the icon: in the program, under names that change with what is in them, so that a browser
//! asks for each once.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// A file, as it is served.
pub struct Asset {
    /// With the beginning of its hash.
    pub name: String,
    pub text: &'static str,
    kind: &'static str,
}

/// `assets/console.css`.
pub static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("css", "text/css; charset=utf-8", include_str!("assets/console.css"))
});
/// `assets/console.js`.
pub static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("js", "text/javascript; charset=utf-8", include_str!("assets/console.js"))
});
/// `assets/icon.svg`.
pub static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("svg", "image/svg+xml", include_str!("assets/icon.svg")));

impl Asset {
    fn new(end: &str, kind: &'static str, text: &'static str) -> Self {
        let hash = Sha256::digest(text.as_bytes());
        let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { name: format!("{hash}.{end}"), text, kind }
    }

    /// Its path in the console.
    pub fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// What has another name is from another version of the program.
pub async fn serve(Path(name): Path<String>) -> Response {
    let Some(asset) = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let for_ever = HeaderValue::from_static("public, max-age=31536000, immutable");
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(asset.kind)), (CACHE_CONTROL, for_ever)];
    (headers, asset.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_stays_small() {
        assert!(SCRIPT.text.len() <= 10 * 1024, "{}", SCRIPT.text.len());
        assert_ne!(SCRIPT.name, STYLE.name);
    }
}
