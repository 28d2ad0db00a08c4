//! `dormouse dlq show`.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::{Value as Json, json};

use super::entry::NO_REASON;
use super::list::summary;
use super::select::by_ids;
use super::{Entry, Look, exchange_name};
use crate::cli::fields::{self, shown};
use crate::cli::table::{age, count, facts, print, print_json, printable};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::message::{Headers, Properties};
use crate::schedule::{Sleeper, UnixMs};
use crate::worker::Clock;

#[derive(Debug, Args)]
pub struct Show {
    /// Its id, or enough of the beginning or the end to be the only one.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: String,
    /// Write the body as it is to a file; to standard output, and nothing else, with -.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
}

/// How much of a body is shown. All of it goes to a file.
const TEXT_BYTES: usize = 4 * 1024;
const HEX_BYTES: usize = 256;
const HEX_ROW_BYTES: usize = 16;

impl Show {
    pub async fn run(self, config: &Config, output: Output) -> Result<Exit, Failure> {
        let mut look = Look::begin(config).await?;
        let chosen = by_ids(&mut look, std::slice::from_ref(&self.id)).await;
        let ended = look.end().await;
        let chosen = chosen?;
        ended?;
        let [entry, copies @ ..] = chosen.as_slice() else {
            unreachable!("an id that none has is an error")
        };
        match &self.body {
            Some(file) if file == Path::new("-") => {
                std::io::stdout().write_all(&entry.message.body)?
            }
            Some(file) => {
                let written = std::fs::write(file, &entry.message.body);
                written.map_err(|error| {
                    Failure::failed(format!("cannot write {}: {error}", file.display()))
                })?;
                let bytes = count(entry.message.body.len() as u64, "byte");
                eprintln!("{bytes} written to {}", file.display());
            }
            None if output == Output::Json => print_json(&document(entry))?,
            None => {
                print(screen(entry, Clock::default().now()))?;
                if !copies.is_empty() {
                    let copies = count(chosen.len() as u64, "message");
                    print(format!(
                        "
{copies} with this id in the DLQ."
                    ))?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn screen(entry: &Entry, now: UnixMs) -> String {
    let mut screen = facts(&about(entry, now));
    let headers = client_headers(entry);
    if !headers.is_empty() {
        screen.push_str("\n\nHeaders\n");
        let lines: Vec<(&str, String)> =
            headers.iter().map(|(name, value)| (name.as_str(), shown(value))).collect();
        screen.push_str(&indented(&facts(&lines)));
    }
    let body = &entry.message.body;
    screen.push_str(&format!("\n\nBody: {}\n", count(body.len() as u64, "byte")));
    screen.push_str(&indented(&body_head(body)));
    screen.trim_end().to_owned()
}

fn about(entry: &Entry, now: UnixMs) -> Vec<(&'static str, String)> {
    let mut about = vec![("id", entry.id.clone())];
    match (&entry.sleeper, entry.failure()) {
        (None, _) => about.push((
            "reason",
            format!("{NO_REASON} (Dormouse did not put it here: no stamp that can be read)"),
        )),
        (Some(_), None) => {
            about.push(("reason", format!("{NO_REASON} (it is Dormouse's, but names no failure)")))
        }
        (Some(_), Some(failure)) => {
            let when = |at: UnixMs| format!("{at}, {} ago", age(now.since(at)));
            about.push(("reason", failure.reason.to_string()));
            about.push(("detail", failure.detail.clone()));
            about.push(("attempts", entry.attempts().unwrap_or_default().to_string()));
            about.push(("first failure", when(failure.first)));
            about.push(("last failure", when(failure.last)));
        }
    }
    if let Some(comeback) = entry.comeback() {
        about.push(("queue", comeback.queue.clone()));
        about.push(("retries", comeback.retries.to_string()));
        let names = std::iter::once("history").chain(std::iter::repeat(""));
        let history = comeback.history().iter().map(ToString::to_string);
        about.extend(names.zip(history));
    }
    if let Some(dropped) = &entry.dropped {
        about.push(("left out", format!("headers without room in a frame: {dropped}")));
    }
    about.push(("exchange", exchange_name(entry.exchange())));
    about.push(("routing key", entry.routing_key().to_owned()));
    if let Some(sleeper) = &entry.sleeper {
        let cc = cc(sleeper);
        if !cc.is_empty() {
            about.push(("CC", cc.join(", ")));
        }
        about.push(("due", sleeper.stamp.due.to_string()));
    }
    about.extend(properties(entry));
    about
}

/// The basic properties as the client set them, those set aside included.
fn properties(entry: &Entry) -> Vec<(&'static str, String)> {
    let mut properties = entry.message.properties.clone();
    if let Some(sleeper) = &entry.sleeper {
        let aside = sleeper.stamp.set_aside.clone();
        properties = Properties {
            expiration: aside.expiration,
            priority: aside.priority,
            delivery_mode: aside.delivery_mode,
            user_id: aside.user_id,
            reply_to: aside.reply_to.or(properties.reply_to),
            ..properties
        };
    }
    let text =
        |value: &Option<crate::message::ShortString>| value.as_ref().map(|value| value.to_string());
    let mode = |mode| match mode {
        1 => "1 (transient)".to_owned(),
        2 => "2 (persistent)".to_owned(),
        other => other.to_string(),
    };
    let named = [
        ("content type", text(&properties.content_type)),
        ("content encoding", text(&properties.content_encoding)),
        ("delivery mode", properties.delivery_mode.map(mode)),
        ("priority", properties.priority.map(|priority| priority.to_string())),
        ("correlation id", text(&properties.correlation_id)),
        ("reply to", text(&properties.reply_to)),
        ("expiration", text(&properties.expiration).map(|expiration| format!("{expiration} ms"))),
        ("message id", text(&properties.message_id)),
        ("timestamp", properties.timestamp.map(fields::timestamp)),
        ("type", text(&properties.kind)),
        ("user id", text(&properties.user_id)),
        ("app id", text(&properties.app_id)),
        ("cluster id", text(&properties.cluster_id)),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn client_headers(entry: &Entry) -> &Headers {
    entry.sleeper.as_ref().map_or(&entry.message.properties.headers, Sleeper::headers)
}

fn cc(sleeper: &Sleeper) -> Vec<String> {
    sleeper
        .stamp
        .target
        .cc
        .iter()
        .map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned())
        .collect()
}

/// The beginning of the body: text if it is UTF-8, else a hex dump.
fn body_head(body: &[u8]) -> String {
    let (head, rest) = match std::str::from_utf8(body) {
        Ok(text) => {
            let end = (0..=TEXT_BYTES.min(text.len()))
                .rev()
                .find(|end| text.is_char_boundary(*end))
                .unwrap_or(0);
            let lines = text[..end].lines().map(|line| printable(&line.replace('\t', "    ")));
            (lines.collect::<Vec<_>>().join("\n"), body.len() - end)
        }
        Err(_) => {
            let end = HEX_BYTES.min(body.len());
            let rows = body[..end].chunks(HEX_ROW_BYTES).enumerate();
            (
                rows.map(|(row, bytes)| hex_row(row * HEX_ROW_BYTES, bytes))
                    .collect::<Vec<_>>()
                    .join("\n"),
                body.len() - end,
            )
        }
    };
    match rest {
        0 => head,
        rest => format!("{head}\n… {} more; --body FILE writes all", count(rest as u64, "byte")),
    }
}

fn hex_row(offset: usize, bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String = bytes
        .iter()
        .map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' })
        .collect();
    format!("{offset:08x}  {:<47}  {text}", hex.join(" "))
}

fn indented(lines: &str) -> String {
    lines
        .lines()
        .map(|line| format!("  {line}").trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

fn document(entry: &Entry) -> Json {
    let mut document = summary(entry);
    let sleeper = entry.sleeper.as_ref();
    let body = &entry.message.body;
    let (text, base64) = match std::str::from_utf8(body) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(body))),
    };
    let properties: serde_json::Map<_, _> = properties(entry)
        .into_iter()
        .map(|(name, value)| (name.replace(' ', "_"), json!(value)))
        .collect();
    let more = json!({
        "cc": sleeper.map(cc).unwrap_or_default(),
        "due": sleeper.map(|sleeper| sleeper.stamp.due.to_string()),
        "left_out_headers": entry.dropped,
        "properties": properties,
        "headers": fields::document(client_headers(entry)),
        "body_bytes": body.len(),
        "body_text": text,
        "body_base64": base64,
    });
    if let (Json::Object(document), Json::Object(more)) = (&mut document, more) {
        document.extend(more);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_as_text_or_hex_and_never_whole_if_long() {
        assert_eq!(body_head("grüß\tdich\n\x1b[2J".as_bytes()), "grüß    dich\n\\u{1b}[2J");
        let dump = body_head(&[0xff, 0x00, b'a']);
        assert_eq!(dump, format!("00000000  {:<47}  ..a", "ff 00 61"));
        let long = "é".repeat(TEXT_BYTES);
        assert!(
            body_head(long.as_bytes()).ends_with("\n… 4,096 bytes more; --body FILE writes all")
        );
        let long = [0xff; 1_000];
        assert_eq!(body_head(&long).lines().count(), 17);
        assert!(body_head(&long).lines().all(|line| line.chars().count() <= 78));
    }
}
