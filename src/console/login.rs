//! Logs in by RabbitMQ's own users: the password by AMQP or the management API, what the user may by its tags.

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
use super::sessions::{May, Password};
use super::site::Site;
use super::visitor::Visitor;
use super::who::{cookie_name, is_secure, tags};
use crate::api::auth::caller::{guest_from_afar, of_caller};
use crate::api::problem::{Kind, Problem};

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Next {
    next: Option<String>,
}

pub async fn show(
    State(site): State<Site>,
    Query(Next { next }): Query<Next>,
    headers: HeaderMap,
) -> Response {
    page(&site, &headers, 200, next.as_deref(), None)
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
    let (user, password) = (form.get("user").unwrap_or(""), form.raw("password").unwrap_or(""));
    match check(&site, &parts, user, password).await {
        Ok(may) => {
            // one that was there before ends
            if let Ok(Visitor { .. }) = Visitor::from_request_parts(&mut parts, &site).await {
                end_session(&site, &parts);
            }
            let is_secure = is_secure(&parts, &site);
            let password = Password(password.to_owned());
            let id = site.sessions.begin(user.to_owned(), password, may, Instant::now());
            tracing::info!(user, address = %of_caller(&parts, &site.api), ?may, "console: logged in");
            with_cookie(see_other(&back(&site, next)), is_secure, &id, None)
        }
        Err(problem) => page(&site, &parts.headers, problem.status(), next, Some(&problem)),
    }
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
    problem: Option<&Problem>,
) -> Response {
    let body = form(site, next, problem);
    layout::alone(
        site,
        Alone { title: "Log in", status, theme: Theme::of(headers), refresh: None },
        body,
    )
}

fn form(site: &Site, next: Option<&str>, problem: Option<&Problem>) -> Markup {
    html! {
        h1 { "Log in" }
        @if let Some(problem) = problem {
            p.notice.bad role="alert" { (layout::sign(false)) (problem.detail) }
        }
        form.login method="post" action=(site.at("/login")) {
            @if let Some(next) = next { input type="hidden" name="next" value=(next); }
            label for="user" { "RabbitMQ user" }
            input #user name="user" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus;
            label for="password" { "Password" }
            input #password name="password" type="password" autocomplete="current-password" required;
            button.primary type="submit" { "Log in" }
        }
    }
}
