//! Who looks: taken from each request, or sent to log in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::layout;
use super::origin;
use super::preferences::{Theme, cookie, see_other};
use super::sessions::{By, May, Password, Session};
use super::site::Site;
use super::trouble;
use super::visitor::Visitor;
use crate::api::auth::caller::{came_over_tls, is_of_proxy, of_caller};
use crate::api::events;
use crate::api::problem::{Kind, Problem};
use crate::management::{Management, ManagementError};

/// A user who loses a tag or is deleted looks no longer than this.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

/// The navigation has what was seen not longer ago than this,
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// or what is seen meanwhile: a page does not wait for a broker that is down or slow. The script adds what comes later.
const PATIENCE: Duration = Duration::from_millis(80);

/// Somebody who may act. Whether RabbitMQ lets the user, it says itself.
pub struct Actor(pub Visitor);

impl FromRequestParts<Site> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Response> {
        let here = parts.uri.path_and_query().map_or("/", |here| here.as_str()).to_owned();
        let stranger = || to_login(site, parts, &here);
        let id = cookie(&parts.headers, cookie_name(is_secure(parts, site)));
        let id = id.ok_or_else(stranger)?;
        let session = site.sessions.find(id, Instant::now()).ok_or_else(stranger)?;
        let is_known = match &session.by {
            By::Password(password) => {
                session.checked_ago(Instant::now()) < TRUSTED_FOR
                    || is_still_known(site, &session, password).await
            }
            By::Proxy => is_still_brought(site, &session, parts),
        };
        if !is_known {
            site.sessions.end(id);
            return Err(stranger());
        }
        Ok(Self {
            site: site.clone(),
            session,
            address: of_caller(parts, &site.api),
            theme: Theme::of(&parts.headers),
            dead: dead(site, parts).await,
            here,
        })
    }
}

impl FromRequestParts<Site> for Actor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Response> {
        let visitor = Visitor::from_request_parts(parts, site).await?;
        if visitor.may_act() {
            return Ok(Self(visitor));
        }
        let detail = visitor.why_not_act();
        tracing::warn!(
            name: "console-refused-without-tag",
            user = visitor.session.user,
            address = %visitor.address,
            path = visitor.here,
            "console: refused, as one who may only look"
        );
        Err(trouble::page(&visitor, &Problem::new(Kind::Forbidden, detail)))
    }
}

/// What lies in the DLQ, for the navigation of a page.
async fn dead(site: &Site, parts: &Parts) -> Option<u64> {
    let is_page = parts.method == Method::GET && !parts.uri.path().contains("/live/");
    if !is_page {
        return None;
    }
    let sample = events::recent(&site.api, SEEN_WITHIN, PATIENCE).await?;
    layout::dead(sample.seen.as_ref().ok()?)
}

/// Asks RabbitMQ again. What cannot be asked stays as it was: a broker that is down has to be seen.
async fn is_still_known(site: &Site, session: &Arc<Session>, password: &Password) -> bool {
    match tags(site, &session.user, &password.0).await {
        Ok(Some(may)) => session.checked(may, Instant::now()),
        Ok(None) => return false,
        Err(_) => session.checked(session.may(), Instant::now()),
    }
    true
}

/// Whether the proxy says it of this request, too.
fn is_still_brought(site: &Site, session: &Arc<Session>, parts: &Parts) -> bool {
    match site.brought(parts) {
        Ok(Some(brought)) if brought.name == session.user => {
            session.checked(brought.may, Instant::now());
            true
        }
        Ok(_) | Err(_) => false,
    }
}

/// What RabbitMQ's tags let a user do here; none if nothing, or if it is no user with that password.
pub async fn tags(site: &Site, user: &str, password: &str) -> Result<Option<May>, ManagementError> {
    let config = site.api.pool.config_of(user, password);
    let config =
        config.map_err(|problem| ManagementError::InvalidUri { reason: problem.detail })?;
    match Management::of(&config.broker)?.whoami().await {
        Ok(known) => Ok(May::of(&known.tags)),
        Err(ManagementError::Unauthorised { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The cookie of a session. Over TLS no other host can set it.
pub fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { "__Host-dormouse" } else { "dormouse" }
}

/// Whether the browser speaks TLS, to us or to a proxy that we trust.
pub fn is_secure(parts: &Parts, site: &Site) -> bool {
    site.api.config.api.cert_file.is_some() || came_over_tls(parts, &site.api)
}

/// The browser keeps a strict cookie back when a link of another site leads here: then it is asked again, from here.
fn to_login(site: &Site, parts: &Parts, here: &str) -> Response {
    let is_page = parts.method == Method::GET;
    let is_link = parts.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if is_page && is_link {
        return trouble::again(site, &parts.headers);
    }
    let next = if is_page && !here.contains("/live/") { here.to_owned() } else { site.at("/") };
    let next = utf8_percent_encode(&next, NON_ALPHANUMERIC);
    see_other(&format!("{}?next={next}", site.at("/login")))
}

/// Around every route: what acts comes from a page of ours.
pub async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method != Method::GET && parts.method != Method::HEAD {
        let host = host(&parts, &site);
        if let Err(foreign) = origin::is_ours(&parts.headers, host) {
            tracing::warn!(
                name: "console-refused-foreign",
                address = %of_caller(&parts, &site.api),
                path = parts.uri.path(),
                "console: refused, since {foreign}"
            );
            let detail = format!("the request is refused, because {foreign}");
            return trouble::bare(&site, &parts.headers, &Problem::new(Kind::Forbidden, detail));
        }
    }
    next.run(Request::from_parts(parts, body)).await
}

/// What the browser calls us.
fn host<'a>(parts: &'a Parts, site: &Site) -> Option<&'a str> {
    let text = |headers: &'a HeaderMap, name: &str| headers.get(name)?.to_str().ok();
    let forwarded = text(&parts.headers, "x-forwarded-host");
    let is_forwarded = is_of_proxy(parts, &site.api);
    forwarded.filter(|_| is_forwarded).or_else(|| text(&parts.headers, "host"))
}
