//! `dormouse dlq show`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::which::{exchange_name, missed};
use crate::cli::table::{age, facts, print, print_json, printable};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::count;
use crate::operate::dlq::{self, Entry, NO_REASON, shown};
use crate::schedule::UnixMs;
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
        let (entry, copies) = dlq::show(config, &self.id, missed).await?;
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
            None if output == Output::Json => print_json(&entry.document())?,
            None => {
                print(screen(&entry, Clock::default().now()))?;
                if copies > 1 {
                    let copies = count(copies, "message");
                    print(format!("\n{copies} with this id in the DLQ."))?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn screen(entry: &Entry, now: UnixMs) -> String {
    let mut screen = facts(&about(entry, now));
    let headers = entry.headers();
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
    match (&entry.delayed, entry.failure()) {
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
    if let Some(retry_state) = entry.retry_state() {
        about.push(("queue", retry_state.queue.clone()));
        about.push(("retries", retry_state.retries.to_string()));
        let names = std::iter::once("history").chain(std::iter::repeat(""));
        let history = retry_state.history().iter().map(ToString::to_string);
        about.extend(names.zip(history));
    }
    if let Some(dropped) = &entry.dropped {
        about.push(("left out", format!("headers without room in a frame: {dropped}")));
    }
    about.push(("exchange", exchange_name(entry.exchange())));
    about.push(("routing key", entry.routing_key().to_owned()));
    if let Some(delayed) = &entry.delayed {
        let cc = entry.cc();
        if !cc.is_empty() {
            about.push(("CC", cc.join(", ")));
        }
        about.push(("due", delayed.stamp.due.to_string()));
    }
    about.extend(entry.properties());
    about
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
