//! Keeps whether a person wants it light or dark.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::response::Response;

use super::form::Form;
use super::preferences::{THEME, Theme, back, see_other};
use super::site::Site;

/// Keeps the choice in a cookie, and goes back.
pub async fn set(State(site): State<Site>, form: Form) -> Response {
    let wanted = form.get("theme");
    let theme = Theme::ALL.into_iter().find(|theme| wanted == Some(theme.as_str()));
    let theme = theme.unwrap_or(Theme::Auto).as_str();
    let mut response = see_other(&back(&site, form.get("next")));
    let cookie = format!("{THEME}={theme}; Path=/; Max-Age=31536000; SameSite=Strict; HttpOnly");
    let cookie = HeaderValue::from_str(&cookie).expect("words of ours");
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}
