//! The floods as a picture: a bar for each subject and broker. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::results::Results;

const WIDTH: f64 = 760.0;
const LABELS: f64 = 270.0;
const BAR: f64 = 14.0;
const GAP: f64 = 12.0;
const TOP: f64 = 46.0;
/// Of the versions, in turn.
const COLOURS: [&str; 4] = ["#3b6ea5", "#7aa6c2", "#e0a458", "#8f8f8f"];
const LEGEND: f64 = 140.0;
const FONT: &str = "font-family=\"system-ui, sans-serif\" font-size=\"12\"";

pub fn svg(results: &Results) -> String {
    // by name, in order of first appearance
    let mut names: Vec<&str> = Vec::new();
    let mut rates: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for (broker, measured) in results.brokers.iter().enumerate() {
        for row in &measured.max {
            let at = names.iter().position(|name| *name == row.name).unwrap_or_else(|| {
                names.push(&row.name);
                names.len() - 1
            });
            if let Some(rate) = row.per_second() {
                rates.insert((at, broker), rate);
            }
        }
    }
    let most = rates.values().copied().fold(1.0, f64::max);
    let brokers = results.brokers.len();
    let group = BAR * brokers as f64 + GAP;
    let height = TOP + group * names.len() as f64 + 8.0;
    let scale = (WIDTH - LABELS - 70.0) / most;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" {FONT} fill=\"#333\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"18\" font-weight=\"600\">Messages a second, end to end, as fast as confirms allow</text>\n"
    );
    for (index, broker) in results.brokers.iter().enumerate() {
        let x = LABELS + LEGEND * index as f64;
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"27\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"36\">RabbitMQ {}</text>",
            x + 15.0,
            escaped(&broker.version)
        );
    }
    for (at, name) in names.iter().enumerate() {
        let y = TOP + group * at as f64;
        let at_bracket = name.strip_suffix(')').and_then(|name| name.split_once(" ("));
        let at_mark = || name.split_once([',', ':']).unwrap_or((name, ""));
        let (head, rest) =
            at_bracket.filter(|(head, _)| !head.contains(',')).unwrap_or_else(at_mark);
        let middle = y + BAR * brokers as f64 / 2.0;
        let x = LABELS - 8.0;
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"end\" font-size=\"10\" fill=\"#666\">{}</text>",
            middle - 2.0,
            escaped(head.trim()),
            middle + 10.0,
            escaped(rest.trim())
        );
        for broker in 0..brokers {
            let Some(rate) = rates.get(&(at, broker)) else { continue };
            let y = y + BAR * broker as f64;
            let width = rate * scale;
            let _ = writeln!(
                svg,
                "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" rx=\"2\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" font-size=\"10\" fill=\"#666\">{rate:.0}</text>",
                BAR - 2.0,
                COLOURS[broker % COLOURS.len()],
                LABELS + width + 5.0,
                y + 10.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
