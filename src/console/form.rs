//! What a form has sent.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::Response;

use super::site::Site;
use super::trouble;
use crate::api::problem::{Kind, Problem};

/// Ten thousand ids.
const MOST_BYTES: usize = 1024 * 1024;

/// Names and values, in their order.
pub struct Form(Vec<(String, String)>);

impl Form {
    /// The first of that name, without blanks around it; none if it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// The first of that name, as it is.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// All of that name.
    pub fn all(&self, name: &str) -> Vec<String> {
        let of = self.0.iter().filter(|(of, value)| of == name && !value.is_empty());
        of.map(|(_, value)| value.clone()).collect()
    }

    /// Errors: it is not there.
    pub fn need(&self, name: &str) -> Result<&str, Problem> {
        let lacks = || Problem::new(Kind::Invalid, format!("the form has no {name:?}"));
        self.get(name).ok_or_else(lacks)
    }
}

impl FromRequest<Site> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, site: &Site) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let bytes: Result<Bytes, _> = axum::body::to_bytes(body, MOST_BYTES).await;
        let bytes = bytes.map_err(|_| {
            let detail = "the form cannot be read, or is larger than 1 MiB";
            trouble::bare(site, &parts.headers, &Problem::new(Kind::TooLarge, detail))
        })?;
        let pairs = url::form_urlencoded::parse(&bytes);
        Ok(Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()))
    }
}
