//! Values as people read them: numbers, durations and moments. Pure.

use std::time::Duration;

use maud::{Markup, html};

use crate::operate::number;
use crate::schedule::UnixMs;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `340 ms`, `12.4 s`, `2h 8m`, `3d 4h`: two units at most.
pub fn about(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let two = |large: u64, name: &str, small: u64, small_name: &str| {
        let rest = ms % large / small;
        let (count, rest) = (
            number(ms / large),
            if rest == 0 { String::new() } else { format!(" {rest}{small_name}") },
        );
        format!("{count}{name}{rest}")
    };
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => {
            let tenths = ms / 100;
            let rest = if tenths % 10 == 0 { String::new() } else { format!(".{}", tenths % 10) };
            format!("{}{rest} s", tenths / 10)
        }
        10_000..MINUTE => format!("{} s", ms / 1_000),
        MINUTE..HOUR => two(MINUTE, "m", 1_000, "s"),
        HOUR..DAY => two(HOUR, "h", MINUTE, "m"),
        _ => two(DAY, "d", HOUR, "h"),
    }
}

/// `2h`, `11d`: one unit, for a scale.
pub fn rough(duration: Duration) -> String {
    let words = about(duration);
    // a space inside a unit is none between two
    match words.split_once(' ') {
        Some((first, _)) if first.ends_with(['m', 'h', 'd']) => first.to_owned(),
        _ => words,
    }
}

/// `in 2h 8m`, `3m 4s ago`, `now`.
pub fn relative(at: UnixMs, now: UnixMs) -> String {
    if at.0 >= now.0 + 1_000 {
        format!("in {}", about(at.since(now)))
    } else if now.0 >= at.0 + 1_000 {
        format!("{} ago", about(now.since(at)))
    } else {
        "now".into()
    }
}

/// `2026-11-29 18:40:12 UTC`.
pub fn absolute(at: UnixMs) -> String {
    written(at, "%Y-%m-%d %H:%M:%S UTC")
}

/// With its milliseconds.
pub fn exact(at: UnixMs) -> String {
    written(at, "%Y-%m-%d %H:%M:%S%.3f UTC")
}

fn written(at: UnixMs, form: &str) -> String {
    let moment = i64::try_from(at.0).ok();
    let moment = moment.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| at.to_string(), |moment| moment.strftime(form).to_string())
}

/// Both, one below the other; the script adds the time of the reader's own zone.
pub fn moment(at: UnixMs, now: UnixMs) -> Markup {
    html! {
        time datetime=(at.to_string()) title=(exact(at)) {
            span.rel { (relative(at, now)) } " " span.abs { (absolute(at)) }
        }
    }
}

/// A count, or that there is none yet, which is not 0.
pub fn counted(count: Option<u64>) -> Markup {
    html! {
        @match count {
            Some(0) => { span.zero { "0" } },
            Some(count) => { (number(count)) },
            None => { abbr.unknown title="RabbitMQ has not counted it yet, or does not show it: that is not 0" { "–" } },
        }
    }
}

/// A rate with its sign; nothing if nothing changes, or that is not known.
pub fn change(per_second: Option<f64>) -> Markup {
    html! {
        @match per_second {
            Some(rate) if rate >= 0.05 => { span.up { "▲ " (decimal(rate)) "/s" } },
            Some(rate) if rate <= -0.05 => { span.down { "▼ " (decimal(-rate)) "/s" } },
            Some(_) | None => {},
        }
    }
}

fn decimal(rate: f64) -> String {
    if rate >= 100.0 { number(rate.round() as u64) } else { format!("{rate:.1}") }
}

/// A bar beside a number.
pub fn share(of: u64, most: u64) -> Markup {
    let share = if most == 0 { 0.0 } else { of as f64 / most as f64 * 100.0 };
    html! {
        svg.share width="100%" height="8" aria-hidden="true" {
            rect.ground width="100%" height="8" rx="2" {}
            @if of > 0 { rect.part width=(format!("{:.2}%", share.max(1.0))) height="8" rx="2" {} }
        }
    }
}

/// Bytes with a unit.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// Where a message goes: a queue's name, or exchange and routing key.
pub fn target(exchange: &str, routing_key: &str) -> Markup {
    html! {
        @if exchange.is_empty() { bdi.mono { (visible(routing_key)) } }
        @else { bdi.mono { (visible(exchange)) } span.quiet { " / " } bdi.mono { (visible(routing_key)) } }
    }
}

/// A text of somebody else's, with what cannot be seen made visible: nothing in it hides or turns round what is beside it.
pub fn visible(text: &str) -> String {
    text.chars().map(picture).collect()
}

/// A sentence of ours, made visible: what stands `so` in a terminal is code on a page.
pub fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // a mark without its second one is a mark
    let is_paired = parts.len() % 2 == 1;
    html! {
        @if is_paired {
            @for (at, part) in parts.iter().enumerate() {
                @if at % 2 == 1 { code { (visible(part)) } } @else { (visible(part)) }
            }
        } @else { (visible(text)) }
    }
}

/// Visible, where lines and tabs are part of the text.
pub fn visible_lines(text: &str) -> String {
    let keep = |c: char| if matches!(c, '\n' | '\t') { c } else { picture(c) };
    text.chars().map(keep).collect()
}

fn picture(c: char) -> char {
    match c {
        // RabbitMQ's names and bodies may hold any of them
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let of = |ms: u64| about(Duration::from_millis(ms));
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (9_950, "9.9 s"),
            (12_400, "12 s"),
            (60_000, "1m"),
            (61_000, "1m 1s"),
            (7_680_000, "2h 8m"),
            (86_400_000, "1d"),
            (273_600_000, "3d 4h"),
            (365 * 10 * DAY, "3,650d"),
        ];
        for (ms, text) in cases {
            assert_eq!(of(ms), text);
        }
    }

    #[test]
    fn a_scale_has_one_unit() {
        let of = |seconds| rough(Duration::from_secs(seconds));
        assert_eq!([15, 240, 3_840, 61_440].map(of), ["15 s", "4m", "1h", "17h"]);
        assert_eq!(rough(Duration::from_millis(100)), "100 ms");
    }

    #[test]
    fn what_is_marked_in_a_sentence_is_code() {
        let cases = [
            ("plain <b>", "plain &lt;b&gt;"),
            ("`dlq list`, then `a<b`", "<code>dlq list</code>, then <code>a&lt;b</code>"),
            ("one ` alone", "one ` alone"),
            ("a\u{202e} `b\0`", "a\u{fffd} <code>b␀</code>"),
        ];
        for (text, page) in cases {
            assert_eq!(prose(text).into_string(), page);
        }
    }

    #[test]
    fn a_moment_is_told_from_now_and_by_the_clock() {
        let now = UnixMs(1_795_849_920_012);
        assert_eq!(relative(now, now), "now");
        assert_eq!(relative(now.plus(Duration::from_secs(90)), now), "in 1m 30s");
        assert_eq!(relative(now.minus(Duration::from_secs(2)), now), "2 s ago");
        assert_eq!(exact(now), "2026-11-28 07:12:00.012 UTC");
        assert_eq!(absolute(now), "2026-11-28 07:12:00 UTC");
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(visible("a\0b\n\u{202e}c\u{7f}"), "a␀b␊\u{fffd}c␡");
        assert_eq!(visible_lines("a\n\tb\r"), "a\n\tb␍");
        assert_eq!(visible("שלום é 🙂"), "שלום é 🙂");
        let shown = target("", "<script>").into_string();
        assert!(shown.contains("&lt;script&gt;"), "{shown}");
    }

    #[test]
    fn what_is_not_counted_is_not_nothing() {
        let text = |count| counted(count).into_string();
        assert!(text(Some(0)).contains('0') && !text(None).contains(">0<"));
        assert_eq!(text(Some(84_310)), "84,310");
    }
}
