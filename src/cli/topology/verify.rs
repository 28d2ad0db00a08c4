//! `dormouse topology verify`: what is not as it should be, and what that does to messages.

use std::time::{Duration, Instant};

use serde_json::json;

use super::look::{self, Api};
use super::plan::{Plan, heading, say};
use crate::cli::table::{WIDTH, count, print, print_json, printable};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::management::ManagementError;
use crate::topology::diff::Diff;
use crate::topology::verify::{Finding, Seen, Verdict, Weight, verify};

/// RabbitMQ tells the effective policy of a queue 2 to 9 s after its declare.
const STATISTICS: Duration = Duration::from_secs(10);

/// How many names a finding lists; programs get all of them.
const NAMES: usize = 3;

pub async fn run(config: &Config, output: Output) -> Result<Exit, Failure> {
    let seen = match Api::of(config) {
        Ok(api) => look(&api, config).await,
        Err(error) => Err(error),
    };
    match seen {
        Ok(seen) => judge(config, output, &seen),
        Err(error) => without_management(config, output, &error).await,
    }
}

/// Waits for the effective policies if nothing else tells the policies.
async fn look(api: &Api, config: &Config) -> Result<Seen, ManagementError> {
    let (user, start) = (look::user(config), Instant::now());
    loop {
        let seen = api.seen(&user).await?;
        let known = seen.policies.is_ok() && seen.operator_policies.is_ok()
            || seen.standing.queues.iter().all(|queue| queue.effective_policy.is_some());
        if known || start.elapsed() > STATISTICS {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn judge(config: &Config, output: Output, seen: &Seen) -> Result<Exit, Failure> {
    let verdict = verify(config, seen);
    let version = &seen.rabbitmq_version;
    match output {
        Output::Table => show(config, Some(version), &verdict)?,
        Output::Json => print_document(config, Some(version), &verdict)?,
    }
    Ok(if verdict.has_faults() { Exit::Differs } else { Exit::Done })
}

/// Over AMQP only existence shows.
async fn without_management(
    config: &Config,
    output: Output,
    error: &ManagementError,
) -> Result<Exit, Failure> {
    let Diff { missing, .. } = Plan::look(config).await?.diff;
    let mut verdict = Verdict::default();
    let exchanges = missing.exchanges.iter().map(|exchange| format!("exchange {}", exchange.name));
    let queues = missing.queues.iter().map(|queue| format!("queue {}", queue.name));
    let objects: Vec<_> = exchanges.chain(queues).collect();
    if !objects.is_empty() {
        verdict.findings.push(Finding {
            weight: Weight::Fault,
            objects,
            problem: "does not exist".into(),
            effect: "messages that should get there are refused, stay behind or are parked".into(),
            remedy: "dormouse topology apply".into(),
        });
    }
    verdict.unseen.push(format!(
        "arguments, bindings, policies, feature flags, permissions and counters: {error}"
    ));
    match output {
        Output::Table => show(config, None, &verdict)?,
        Output::Json => print_document(config, None, &verdict)?,
    }
    Ok(if verdict.has_faults() { Exit::Differs } else { look::exit(error) })
}

fn print_document(
    config: &Config,
    version: Option<&str>,
    verdict: &Verdict,
) -> Result<(), Failure> {
    print_json(&json!({
        "vhost": look::vhost(config),
        "rabbitmq_version": version,
        "findings": verdict.findings,
        "unseen": verdict.unseen,
    }))
}

fn show(config: &Config, version: Option<&String>, verdict: &Verdict) -> Result<(), Failure> {
    print(heading(config))?;
    if let Some(version) = version {
        print(format!("RabbitMQ {}", printable(version)))?;
    }
    print("")?;
    let mut findings = verdict.findings.iter().peekable();
    while let Some(finding) = findings.next() {
        print(shown(finding))?;
        // several with one remedy in a row name it once
        let next = findings.peek().map(|next| &next.remedy);
        if !finding.remedy.is_empty() && next != Some(&finding.remedy) {
            print(paragraph("   do ", &finding.remedy))?;
        }
        print("")?;
    }
    for unseen in &verdict.unseen {
        print(format!("{}\n", paragraph("not seen ", &printable(unseen))))?;
    }
    let of = |weight| verdict.findings.iter().filter(|finding| finding.weight == weight).count();
    let (faults, notes) = (of(Weight::Fault) as u64, of(Weight::Note) as u64);
    match (faults, notes, verdict.unseen.is_empty()) {
        (0, 0, true) => say("All is as it should be."),
        (0, _, true) => say(&format!("No fault, {}.", count(notes, "note"))),
        (0, _, false) => say(&format!("No fault in what was seen, {}.", count(notes, "note"))),
        (_, _, _) => say(&format!("{}, {}.", count(faults, "fault"), count(notes, "note"))),
    }
}

fn shown(finding: &Finding) -> String {
    let Finding { weight, objects, problem, effect, remedy: _ } = finding;
    let mark = match weight {
        Weight::Fault => "FAULT ",
        Weight::Note => "note  ",
    };
    let named = objects.iter().take(NAMES).map(|name| printable(name)).collect::<Vec<_>>();
    let mut named = named.join(", ");
    if objects.len() > NAMES {
        named.push_str(&format!(" and {} more", objects.len() - NAMES));
    }
    let problem = paragraph(mark, &format!("{named}: {}", printable(problem)));
    format!("{problem}\n{}", paragraph("   so ", &printable(effect)))
}

/// A label and words beside it, broken at the width of a terminal.
fn paragraph(label: &str, text: &str) -> String {
    let indent = label.chars().count();
    let mut paragraph = label.to_owned();
    let mut column = indent;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > WIDTH {
            paragraph.push('\n');
            paragraph.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            paragraph.push(' ');
            column += 1;
        }
        paragraph.push_str(word);
        column += width;
    }
    paragraph
}
