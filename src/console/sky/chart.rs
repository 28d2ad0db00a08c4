//! The future as a picture: steps that double from left to right, messages by tens from bottom to top. In: the steps. Out:
//! SVG, which grows with the page while its words do not.

use std::time::Duration;

use maud::{Markup, html};

use super::bins::Bin;
use crate::console::words::{about, rough};
use crate::operate::number;

const TOP: f64 = 14.0;
const BOTTOM: f64 = 214.0;
const HEIGHT: u32 = 240;

/// So many, on a scale by tens on which 0 has its place.
fn height(count: u64, decades: u32) -> f64 {
    let share = (1.0 + count as f64).log10() / (1.0 + 10f64.powi(decades as i32)).log10();
    (share * (BOTTOM - TOP) * 10.0).round() / 10.0
}

/// Tens that hold all of them.
fn decades(bins: &[Bin]) -> u32 {
    let most = bins.iter().map(|bin| bin.at_most.max(bin.exact.unwrap_or(0))).max().unwrap_or(0);
    (1..19).find(|tens| 10u64.pow(*tens) >= most).unwrap_or(19)
}

/// The picture.
pub fn chart(bins: &[Bin]) -> Markup {
    let tens = decades(bins);
    let lines: Vec<(u64, f64)> = (0..=tens)
        .map(|ten| 10u64.pow(ten))
        .map(|count| (count, BOTTOM - height(count, tens)))
        .collect();
    let width = 100.0 / bins.len().max(1) as f64;
    html! {
        div.chart {
            svg.scale width="44" height=(HEIGHT) aria-hidden="true" {
                @for (count, y) in &lines { text x="38" y=(y + 4.0) text-anchor="end" { (short(*count)) } }
            }
            svg.plot width="100%" height=(HEIGHT) role="img" aria-label=(said(bins)) {
                defs {
                    pattern #hatch width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                        rect.ground width="6" height="6" {}
                        line x1="0" y1="0" x2="0" y2="6" {}
                    }
                }
                @for (_, y) in &lines { line.grid x1="0" x2="100%" y1=(y) y2=(y) {} }
                @for (at, bin) in bins.iter().enumerate() { (bar(bin, at as f64 * width, width, tens)) }
                @for (at, bin) in bins.iter().enumerate().filter(|(at, _)| (at + 3) % 4 == 0) {
                    text.edge x=(percent(at as f64 * width)) y=(BOTTOM + 18.0) text-anchor="middle" { (rough(bin.from)) }
                    line.tick x1=(percent(at as f64 * width)) x2=(percent(at as f64 * width)) y1=(BOTTOM) y2=(BOTTOM + 4.0) {}
                }
                line.floor x1="0" x2="100%" y1=(BOTTOM) y2=(BOTTOM) {}
            }
        }
    }
}

fn bar(bin: &Bin, x: f64, width: f64, tens: u32) -> Markup {
    let most = height(bin.at_most, tens);
    let exact = bin.exact.map(|count| height(count, tens));
    html! {
        g {
            title { (step(bin)) ": " (in_words(bin)) }
            rect.hit x=(percent(x)) width=(percent(width)) y=(TOP) height=(BOTTOM - TOP) {}
            @if bin.at_most > 0 {
                rect.bound x=(percent(x + width * 0.1)) width=(percent(width * 0.8)) y=(BOTTOM - most) height=(most) rx="2" {}
            }
            @if let Some(exact) = exact.filter(|height| *height > 0.0) {
                rect.exact x=(percent(x + width * 0.1)) width=(percent(width * 0.8)) y=(BOTTOM - exact) height=(exact) rx="2" {}
            }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{share:.2}%")
}

/// `1k`, `10k`, `1M`.
fn short(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{}k", count / 1_000),
        1_000_000..1_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

/// When a step is.
pub fn step(bin: &Bin) -> String {
    if bin.from == Duration::ZERO {
        format!("within {}", about(bin.to))
    } else {
        format!("in {} to {}", about(bin.from), about(bin.to))
    }
}

/// How much is due in it.
pub fn in_words(bin: &Bin) -> String {
    match bin.exact {
        Some(exact) => number(exact),
        None if bin.at_most == 0 => "none".into(),
        None => format!("at most {}", number(bin.at_most)),
    }
}

fn said(bins: &[Bin]) -> String {
    let some = bins.iter().filter(|bin| bin.exact.map_or(bin.at_most > 0, |exact| exact > 0));
    let some: Vec<_> = some.map(|bin| format!("{}: {}", step(bin), in_words(bin))).collect();
    if some.is_empty() {
        "Nothing is due.".into()
    } else {
        format!("Messages due {}.", some.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bin(at_most: u64, exact: Option<u64>) -> Bin {
        let seconds = Duration::from_secs;
        Bin { from: seconds(15), to: seconds(30), at_most, exact }
    }

    #[test]
    fn a_bar_is_as_high_as_its_count_and_nothing_has_none() {
        let tens = decades(&[bin(84_310, None)]);
        assert_eq!(tens, 5);
        assert_eq!(height(0, tens), 0.0);
        assert_eq!(height(100_000, tens), BOTTOM - TOP);
        assert!(height(1, tens) > 5.0, "one message can be seen");
        assert_eq!(decades(&[]), 1);
        assert_eq!(decades(&[bin(u64::MAX, None)]), 19);
        let svg = chart(&[bin(0, None), bin(0, Some(0))]).into_string();
        assert!(!svg.contains("class=\"bound\"") && !svg.contains("class=\"exact\""), "{svg}");
        let svg = chart(&[bin(9, Some(3))]).into_string();
        assert!(svg.contains("class=\"bound\"") && svg.contains("class=\"exact\""), "{svg}");
        assert!(svg.contains("in 15 s to 30 s: 3"), "{svg}");
        assert!(!svg.contains("style="), "the policy lets no style in");
    }
}
