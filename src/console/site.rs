//! What all pages share.

use std::sync::Arc;

use axum::http::request::Parts;
use tokio::sync::Mutex;

use super::proxy::{Brought, NotBrought, ProxyLogin, ProxyLoginError};
use super::sessions::Sessions;
use super::sky::known::Known;
use crate::api::Api;
use crate::api::auth::caller::is_of_proxy;

/// See [`Shared`]. Cheap to clone.
pub type Site = Arc<Shared>;

/// What all pages share.
pub struct Shared {
    pub api: Api,
    pub sessions: Sessions,
    /// None: no proxy logs people in.
    proxy: Option<ProxyLogin>,
    /// What the index said of the future, for some seconds: all who watch see the same.
    pub known: Mutex<Option<Known>>,
}

impl Shared {
    /// Errors: the password of a proxy cannot be read.
    pub fn new(api: &Api) -> Result<Site, ProxyLoginError> {
        Ok(Arc::new(Self {
            sessions: Sessions::new(api.config.console.idle),
            proxy: ProxyLogin::of(&api.config)?,
            known: Mutex::default(),
            api: api.clone(),
        }))
    }

    /// Whom a trusted proxy brings; none if it is no such proxy's request, or names nobody.
    pub fn brought(&self, parts: &Parts) -> Result<Option<Brought>, NotBrought> {
        match &self.proxy {
            Some(proxy) if is_of_proxy(parts, &self.api) => proxy.who(&parts.headers),
            Some(_) | None => Ok(None),
        }
    }

    /// The address of a path of the console.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.api.config.console.base_path)
    }

    /// Whether there is anything to act with.
    pub fn is_read_only(&self) -> bool {
        self.api.config.console.read_only
    }
}
