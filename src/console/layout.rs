//! The frame of every page.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, REFRESH};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::places::{PLACES, Place, Shown};
use super::preferences::Theme;
use super::sessions::Notice;
use super::site::Site;
use super::visitor::Visitor;
use super::words;
use crate::api::watching::{Sample, Seen};
use crate::operate::vhost_name;

/// What a page says of itself.
pub struct Head {
    pub title: &'static str,
    pub place: Option<Place>,
    pub status: u16,
    /// Asked for again after so many seconds.
    pub refresh: Option<u32>,
    /// Where what is in it comes from as it changes.
    pub live: &'static str,
    /// How long ago was looked what it shows, if that is no sample.
    pub looked: Option<Duration>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            title: "",
            place: None,
            status: 200,
            refresh: None,
            live: "/live/places",
            looked: None,
        }
    }
}

/// A page without a person.
pub struct Alone {
    pub title: &'static str,
    pub status: u16,
    pub theme: Theme,
    pub refresh: Option<u32>,
}

/// A page for somebody who is logged in.
pub fn page(visitor: &Visitor, head: Head, sample: Option<&Sample>, body: Markup) -> Response {
    let notice = visitor.session.take_notice();
    let page = html! {
        header.top {
            a.skip href="#main" { "To the content" }
            (brand(&visitor.site))
            (search(&visitor.site))
            (person(visitor))
        }
        (navigation(visitor, head.place, sample))
        main #main tabindex="-1" data-live=(visitor.site.at(head.live)) {
            @if let Some(notice) = &notice { (told(notice)) }
            @if let Some(sample) = sample { (age("Counted", sample.taken.elapsed())) }
            @if let Some(looked) = head.looked { (age("Looked", looked)) }
            div #live { (body) }
        }
    };
    whole(&visitor.site, head.title, head.status, visitor.theme, head.refresh, page)
}

/// A page for nobody in particular.
pub fn alone(site: &Site, alone: Alone, body: Markup) -> Response {
    let page = html! { main.alone { (brand(site)) (body) } };
    whole(site, alone.title, alone.status, alone.theme, alone.refresh, page)
}

fn whole(
    site: &Site,
    title: &str,
    status: u16,
    theme: Theme,
    refresh: Option<u32>,
    body: Markup,
) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" data-theme=(theme.as_str()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Dormouse" }
                link rel="stylesheet" href=(site.at(&STYLE.path()));
                link rel="icon" href=(site.at(&ICON.path())) type="image/svg+xml";
                script type="module" src=(site.at(&SCRIPT.path())) {}
            }
            body data-base=(site.at("")) { (body) }
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = (status, [(CONTENT_TYPE, html)], page.into_string()).into_response();
    if let Some(seconds) = refresh {
        response.headers_mut().insert(REFRESH, HeaderValue::from(seconds));
    }
    response
}

fn brand(site: &Site) -> Markup {
    html! {
        a.brand href=(site.at("/")) {
            svg.mark viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
                path d="M20.5 14.6A9 9 0 1 1 9.4 3.5a7.2 7.2 0 0 0 11.1 11.1z" {}
                circle cx="17.5" cy="5.5" r="1.4" {}
            }
            span { "Dormouse" }
        }
    }
}

fn search(site: &Site) -> Markup {
    html! {
        form.search role="search" action=(site.at("/message")) {
            label.unseen for="search" { "Id or key of a message" }
            input #search name="of" type="search" placeholder="Id or key of a message" autocomplete="off" spellcheck="false" aria-keyshortcuts="/";
            kbd aria-hidden="true" { "/" }
        }
    }
}

fn person(visitor: &Visitor) -> Markup {
    let site = &visitor.site;
    let may = if visitor.may_act() { "may act" } else { "looks" };
    html! {
        div.person {
            details.menu {
                summary { span.user { bdi { (words::visible(&visitor.session.user)) } } span.may { (may) } }
                div {
                    form method="post" action=(site.at("/theme")) {
                        input type="hidden" name="next" value=(visitor.here);
                        fieldset.themes {
                            legend { "Theme" }
                            @for theme in Theme::ALL {
                                button type="submit" name="theme" value=(theme.as_str()) aria-pressed=(visitor.theme == theme) { (theme.as_str()) }
                            }
                        }
                    }
                    p { a href=(site.at("/help")) { "Keys and words" } " " kbd { "?" } }
                    form method="post" action=(site.at("/logout")) { button type="submit" { "Log out" } }
                }
            }
        }
    }
}

fn navigation(visitor: &Visitor, here: Option<Place>, sample: Option<&Sample>) -> Markup {
    let seen = sample.and_then(|sample| sample.seen.as_ref().ok());
    let dead = seen.and_then(dead).or(visitor.dead);
    let config = &visitor.site.api.config;
    html! {
        nav.places aria-label="Pages" {
            ul {
                @for Shown { place, path, name, key } in PLACES {
                    li {
                        a href=(visitor.site.at(path)) aria-current=[(here == Some(*place)).then_some("page")] data-key=(key) {
                            (name)
                            @if *place == Place::Dlq { span #dead { (badge(dead.unwrap_or(0))) } }
                        }
                    }
                }
            }
            dl.about {
                dt { "Virtual host" } dd.mono { bdi { (words::visible(&vhost_name(config))) } }
                dt { "Namespace" } dd.mono { (config.topology.namespace) ".v" (config.topology.version) }
                dt { "Zone" } dd { "UTC" }
            }
        }
    }
}

/// How many are dead, if there is one. It is never empty: an event with nothing in it is none to a browser.
pub fn badge(dead: u64) -> Markup {
    html! {
        span.badge hidden[dead == 0] { (crate::operate::number(dead)) span.unseen { " messages" } }
    }
}

/// What lies in the DLQ.
pub fn dead(seen: &Seen) -> Option<u64> {
    let stage = seen.status.overview.stages.iter().find(|stage| stage.name == "DLQ")?;
    stage.counts.ready
}

/// How old it is; the script counts on.
fn age(what: &str, age: Duration) -> Markup {
    html! {
        p.age #age data-age=(age.as_millis()) {
            span.dot aria-hidden="true" {}
            (what) " " span { (words::about(age)) " ago" }
        }
    }
}

/// What is not as it should be, in sentences, above everything else.
pub fn findings(seen: &Seen) -> Markup {
    let management = seen.status.seen.rabbitmq_version.as_ref().err();
    html! {
        @if !seen.status.overview.findings.is_empty() || management.is_some() {
            section.findings data-part="findings" aria-label="What is not as it should be" {
                @for finding in &seen.status.overview.findings { p.notice.bad { (sign(false)) (words::prose(finding)) } }
                @if let Some(error) = management {
                    p.notice.warn {
                        (sign(false)) "RabbitMQ’s management API does not answer, so what consumers hold is not known (–): "
                        (words::prose(&error.to_string()))
                    }
                }
            }
        }
    }
}

fn told(notice: &Notice) -> Markup {
    html! {
        p.notice.good[notice.is_good].bad[!notice.is_good] role="status" tabindex="-1" { (sign(notice.is_good)) (notice.text) }
    }
}

/// State is never told by colour alone.
pub fn sign(is_good: bool) -> Markup {
    html! {
        @if is_good { span.sign aria-hidden="true" { "✓" } span.unseen { "Done: " } }
        @else { span.sign aria-hidden="true" { "!" } span.unseen { "Attention: " } }
    }
}
