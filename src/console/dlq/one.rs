//! One message that lies there, with all that is known of it.

use axum::extract::Query;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::groups::goes_to;
use super::looking;
use super::page::{failed, reason};
use crate::console::layout::{self, Head};
use crate::console::places::Place;
use crate::console::visitor::Visitor;
use crate::console::{trouble, words};
use crate::operate::dlq::{Entry, shown};

/// Of a body.
const MOST_BYTES: usize = 64 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Which {
    id: String,
}

pub async fn one(visitor: Visitor, Query(Which { id }): Query<Which>) -> Response {
    match looking::one(&visitor, &id).await {
        Ok((entry, copies)) => {
            let head = Head { title: "Dead message", place: Some(Place::Dlq), ..Head::default() };
            layout::page(&visitor, head, None, body(&visitor, &entry, copies))
        }
        Err(problem) => trouble::page(&visitor, &problem),
    }
}

fn body(visitor: &Visitor, entry: &Entry, copies: u64) -> Markup {
    let now = visitor.site.api.clock.now();
    let failure = entry.failure();
    html! {
        h1 { "Dead message " bdi.mono { (words::visible(&entry.id)) } }
        section.panel {
            dl.facts {
                dt { "Reason" } dd { (reason(entry.reason_text())) @if let Some(failure) = failure { p.quiet { (words::visible(&failure.detail)) } } }
                dt { "Target" } dd.mono { bdi { (words::visible(&goes_to(entry))) } }
                dt { "Attempts" } dd { (words::counted(entry.attempts().map(u64::from))) }
                dt { "First failure" } dd { (failed(failure.map(|failure| failure.first), now)) }
                dt { "Last failure" } dd { (failed(failure.map(|failure| failure.last), now)) }
                @if copies > 1 { dt { "Copies" } dd { (copies) ", as after a crash in the wrong moment" } }
                @if let Some(dropped) = &entry.dropped { dt { "Left out" } dd { "headers that had no room: " span.mono { (words::visible(dropped)) } } }
            }
            @if visitor.may_act() {
                form.actions method="post" action=(visitor.site.at("/dlq/choose")) {
                    input type="hidden" name="id" value=(entry.id);
                    button.primary type="submit" name="which" value="selected" { "Send again, elsewhere, or delete …" }
                }
            }
        }
        @if let Some(state) = entry.retry_state() {
            section.panel {
                h2 { "Rejected by its consumer" }
                p { (state.retries) " times brought back to " bdi.mono { (words::visible(&state.queue)) } "." }
                ul { @for death in state.history() { li { (words::moment(death.at, now)) " " (death.reason.as_str()) } } }
            }
        }
        (fields("Properties", entry.properties().into_iter().map(|(name, value)| (name.to_owned(), value))))
        (fields("Headers", entry.headers().iter().map(|(name, value)| (name.to_string(), shown(value)))))
        section.panel { h2 { "Body" } (content(&entry.message.body)) }
    }
}

fn fields(name: &str, fields: impl Iterator<Item = (String, String)>) -> Markup {
    let fields: Vec<_> = fields.collect();
    html! {
        @if !fields.is_empty() {
            section.panel {
                h2 { (name) }
                dl.facts { @for (name, value) in &fields { dt.mono { bdi { (words::visible(name)) } } dd.mono { bdi { (words::visible(value)) } } } }
            }
        }
    }
}

/// Text as text, anything else as numbers.
fn content(body: &[u8]) -> Markup {
    let cut = &body[..body.len().min(MOST_BYTES)];
    // a cut may fall into a character
    let text = match std::str::from_utf8(cut) {
        Ok(text) => Some(text),
        Err(error) if body.len() > cut.len() && cut.len() - error.valid_up_to() < 4 => {
            std::str::from_utf8(&cut[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    html! {
        p.quiet { (words::bytes(body.len() as u64)) @if text.is_none() { ", not UTF-8" } @if body.len() > cut.len() { ", the first " (words::bytes(cut.len() as u64)) } }
        @if body.is_empty() {}
        @else if let Some(text) = text { pre.body tabindex="0" dir="auto" { (words::visible_lines(text)) } }
        @else { pre.body tabindex="0" { (dump(&cut[..cut.len().min(4_096)])) } }
    }
}

fn dump(bytes: &[u8]) -> String {
    let line = |(at, line): (usize, &[u8])| {
        let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = line
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { *byte as char } else { '.' });
        format!("{:06x}  {:<47}  {}\n", at * 16, hex.join(" "), text.collect::<String>())
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_whatever_it_is() {
        let shown = |body: &[u8]| content(body).into_string();
        assert!(shown(b"<script>alert(1)</script>").contains("&lt;script&gt;"));
        assert!(shown(&[0, 255]).contains("00 ff"), "{}", shown(&[0, 255]));
        let long = "é".repeat(MOST_BYTES);
        let text = shown(long.as_bytes());
        assert!(
            text.contains("the first 64.0 KiB")
                && text.contains('é')
                && !text.contains("not UTF-8")
        );
        let odd = format!("x{long}");
        assert!(!shown(odd.as_bytes()).contains("not UTF-8"), "a character that is cut");
        assert!(shown(b"").contains("0 B"));
    }
}
