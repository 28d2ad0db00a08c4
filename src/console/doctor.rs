//! What could lose, delay, duplicate or hide messages here: each question with what was seen and what to do.

use axum::response::Response;
use maud::{Markup, html};

use super::layout::{self, Head, sign};
use super::places::Place;
use super::visitor::Visitor;
use super::{trouble, words};
use crate::api::look::examined;
use crate::operate::count;
use crate::operate::doctor::{Check, Examined, Grade};

pub async fn show(visitor: Visitor) -> Response {
    match examined(&visitor.site.api).await {
        Ok(told) => {
            let head = Head {
                title: "Doctor",
                place: Some(Place::Doctor),
                looked: Some(told.at.elapsed()),
                ..Head::default()
            };
            layout::page(&visitor, head, None, body(&told.value))
        }
        Err(problem) => trouble::page(&visitor, &problem),
    }
}

fn body(examined: &Examined) -> Markup {
    // what needs somebody comes first
    let grades = [Grade::Fail, Grade::Warn, Grade::Unseen, Grade::Pass];
    let checks = |grade: Grade| examined.checks.iter().filter(move |check| check.grade == grade);
    let failed = examined.count(Grade::Fail);
    html! {
        h1 { "Doctor" }
        @if failed == 0 {
            p.notice.good { (sign(true)) "Nothing that was seen loses, delays or doubles messages." }
        } @else {
            p.notice.bad { (sign(false)) (count(failed as u64, "question")) " failed: messages are lost, late, doubled or stuck, or can be." }
        }
        p.lead {
            @for (at, grade) in grades.into_iter().enumerate() {
                @if at > 0 { ", " }
                (examined.count(grade)) " " (grade.as_str())
            }
            ". What cannot be seen is never a pass. A message through the whole path: " code { "dormouse doctor --canary" } "."
        }
        ol.findings.plain { @for grade in grades { @for check in checks(grade) { li { (one(check)) } } } }
    }
}

fn one(check: &Check) -> Markup {
    let Check { name, asks, grade, evidence, from, next } = check;
    let class = match grade {
        Grade::Pass => "state good",
        Grade::Warn => "state warn",
        Grade::Fail => "state bad",
        Grade::Unseen => "state calm",
    };
    html! {
        article.panel.finding.bad[*grade == Grade::Fail] {
            p { span class=(class) { (grade.as_str()) } }
            h2 { (name) ": " (asks) }
            dl.facts {
                dt { "Seen" } dd { (words::prose(evidence)) }
                dt { "Where" } dd { (words::prose(from)) }
                @if !next.is_empty() { dt { "Do" } dd { (words::prose(next)) } }
            }
        }
    }
}
