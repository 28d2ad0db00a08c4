//! Logs in by RabbitMQ's own users: the password by AMQP or the management API, what the user may by its tags. Or by the word
//! of a proxy that logs people in, if the operator lets it.

use std::time::Instant;

use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::form::Form;
use super::layout::{self, Alone};
use super::preferences::{Theme, back, cookie, see_other};
use super::proxy::{Brought, NotBrought};
use super::sessions::{By, May, Password};
use super::site::Site;
use super::visitor::Visitor;
use super::who::{cookie_name, is_secure, tags};
use super::words;
use crate::api::auth::caller::{guest_from_afar, of_caller};
use crate::api::problem::{Kind, Problem};

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Next {
    next: Option<String>,
}

/// Whom a proxy brings from one of our pages is let in at once; who has just logged out, when that is wanted.
pub async fn show(
    State(site): State<Site>,
    Query(Next { next }): Query<Next>,
    request: Request,
) -> Response {
    let (mut parts, _) = request.into_parts();
    let next = next.as_deref();
    match site.brought(&parts) {
        Ok(Some(brought)) if next.is_some() => enter_as(&site, &mut parts, brought, next).await,
        Ok(brought) => page(&site, &parts.headers, 200, next, brought.as_ref(), None),
        Err(why) => {
            let problem = not_brought(&site, &parts, &why);
            page(&site, &parts.headers, problem.status(), next, None, Some(&problem))
        }
    }
}

/// Begins a session.
pub async fn begin(State(site): State<Site>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let form = match <Form as axum::extract::FromRequest<Site>>::from_request(
        Request::from_parts(parts.clone(), body),
        &site,
    )
    .await
    {
        Ok(form) => form,
        Err(refused) => return refused,
    };
    let next = form.get("next");
    let brought = site.brought(&parts).ok().flatten();
    if form.get("brought").is_some()
        && let Some(brought) = brought
    {
        return enter_as(&site, &mut parts, brought, next).await;
    }
    let (user, password) = (form.get("user").unwrap_or(""), form.raw("password").unwrap_or(""));
    match check(&site, &parts, user, password).await {
        Ok(may) => {
            let by = By::Password(Password(password.to_owned()));
            enter(&site, &mut parts, user, by, may, next).await
        }
        Err(problem) => {
            page(&site, &parts.headers, problem.status(), next, brought.as_ref(), Some(&problem))
        }
    }
}

async fn enter_as(
    site: &Site,
    parts: &mut Parts,
    brought: Brought,
    next: Option<&str>,
) -> Response {
    enter(site, parts, &brought.name, By::Proxy, brought.may, next).await
}

async fn enter(
    site: &Site,
    parts: &mut Parts,
    user: &str,
    by: By,
    may: May,
    next: Option<&str>,
) -> Response {
    // one that was there before ends
    if let Ok(Visitor { .. }) = Visitor::from_request_parts(parts, site).await {
        end_session(site, parts);
    }
    let is_secure = is_secure(parts, site);
    let id = site.sessions.begin(user.to_owned(), by, may, Instant::now());
    tracing::info!(name: "console-logged-in", user, address = %of_caller(parts, &site.api), ?may, "console: logged in");
    with_cookie(see_other(&back(site, next)), is_secure, &id, None)
}

/// What is wrong with a proxy's word is for the operator to know, who reads the log.
fn not_brought(site: &Site, parts: &Parts, why: &NotBrought) -> Problem {
    tracing::warn!(name: "console-proxy-refused", address = %of_caller(parts, &site.api), "console: refused, since {why}");
    Problem::new(Kind::Forbidden, why.to_string())
}

/// Ends the session.
pub async fn end(State(site): State<Site>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    end_session(&site, &parts);
    let is_secure = is_secure(&parts, &site);
    with_cookie(see_other(&site.at("/login")), is_secure, "", Some(0))
}

fn end_session(site: &Site, parts: &Parts) {
    if let Some(id) = cookie(&parts.headers, cookie_name(is_secure(parts, site))) {
        site.sessions.end(id);
    }
}

fn with_cookie(
    mut response: Response,
    is_secure: bool,
    value: &str,
    max_age: Option<u32>,
) -> Response {
    let mut cookie =
        format!("{}={value}; Path=/; HttpOnly; SameSite=Strict", cookie_name(is_secure));
    if is_secure {
        cookie += "; Secure";
    }
    if let Some(seconds) = max_age {
        cookie += &format!("; Max-Age={seconds}");
    }
    let cookie = HeaderValue::from_str(&cookie).expect("words of ours");
    response.headers_mut().append(SET_COOKIE, cookie);
    response
}

/// What the user may.
///
/// Errors: it is none, it has no tag, it may not into the virtual host, or RabbitMQ cannot be asked.
async fn check(site: &Site, parts: &Parts, user: &str, password: &str) -> Result<May, Problem> {
    let api = &site.api;
    let address = of_caller(parts, api);
    if user.is_empty() || password.is_empty() || user.contains('\0') {
        return Err(Problem::new(
            Kind::Unauthenticated,
            "give a user of RabbitMQ's and its password",
        ));
    }
    guest_from_afar(user, address, api)?;
    // too many failed logins wait here
    let connected = match api.pool.user(user, password, address).await {
        Ok(_) => Ok(()),
        Err(no) if no.kind == Kind::Forbidden => Err(no),
        Err(problem) => return Err(problem),
    };
    let known = tags(site, user, password).await.map_err(|error| {
        let detail = format!(
            "what {user:?} may is asked of RabbitMQ's management API, which does not answer: {error}"
        );
        Problem::new(Kind::NoBroker, detail)
    })?;
    let may = known.ok_or_else(|| {
        let detail = format!(
            "the user {user:?} has none of RabbitMQ's tags: management or monitoring to look, policymaker or \
             administrator to act"
        );
        Problem::new(Kind::Forbidden, detail)
    })?;
    connected.map(|()| may)
}

fn page(
    site: &Site,
    headers: &HeaderMap,
    status: u16,
    next: Option<&str>,
    brought: Option<&Brought>,
    problem: Option<&Problem>,
) -> Response {
    let body = form(site, next, brought, problem);
    layout::alone(
        site,
        Alone { title: "Log in", status, theme: Theme::of(headers), refresh: None },
        body,
    )
}

fn form(
    site: &Site,
    next: Option<&str>,
    brought: Option<&Brought>,
    problem: Option<&Problem>,
) -> Markup {
    let next =
        html! { @if let Some(next) = next { input type="hidden" name="next" value=(next); } };
    html! {
        h1 { "Log in" }
        @if let Some(problem) = problem {
            p.notice.bad role="alert" { (layout::sign(false)) (problem.detail) }
        }
        @if let Some(brought) = brought {
            form.login method="post" action=(site.at("/login")) {
                (next)
                input type="hidden" name="brought" value="yes";
                button.primary type="submit" { "Go on as " bdi { (words::visible(&brought.name)) } }
            }
            p.quiet { "Or as a user of RabbitMQ’s:" }
        }
        form.login method="post" action=(site.at("/login")) {
            (next)
            label for="user" { "RabbitMQ user" }
            input #user name="user" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus[brought.is_none()];
            label for="password" { "Password" }
            input #password name="password" type="password" autocomplete="current-password" required;
            button.primary type="submit" { "Log in" }
        }
    }
}
