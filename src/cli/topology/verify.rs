//! `dormouse topology verify`: what is not as it should be, and what that does to messages.

use super::plan::{heading, say};
use crate::cli::paragraph::paragraph;
use crate::cli::table::{print, print_json, printable};
use crate::cli::{Exit, Failure, Output};
use crate::config::Config;
use crate::operate::verify::{self, Verified, VerifyError};
use crate::operate::{Others, count};
use crate::topology::finding::{Finding, Severity};

/// How many names a finding lists; programs get all of them.
const NAMES: usize = 3;

pub async fn run(config: &Config, output: Output) -> Result<Exit, Failure> {
    let verified = verify::verify(config, Others::All).await?;
    match output {
        Output::Table => show(config, &verified)?,
        Output::Json => print_json(&verified.document(config))?,
    }
    Ok(match &verified.rabbitmq_version {
        _ if verified.verdict.has_faults() => Exit::Differs,
        Ok(_) => Exit::Done,
        // it looked, and cannot vouch for the rest
        Err(error) => error.into(),
    })
}

fn show(config: &Config, Verified { verdict, rabbitmq_version }: &Verified) -> Result<(), Failure> {
    print(heading(config))?;
    if let Ok(version) = rabbitmq_version {
        print(format!("RabbitMQ {}", printable(version)))?;
    }
    print("")?;
    let mut findings = verdict.findings.iter().peekable();
    while let Some(finding) = findings.next() {
        print(shown(finding))?;
        // several with one remedy in a row name it once
        let next = findings.peek().map(|next| &next.remedy);
        if !finding.remedy.is_empty() && next != Some(&finding.remedy) {
            print(beside("   do ", &finding.remedy))?;
        }
        print("")?;
    }
    for unseen in &verdict.unseen {
        print(format!("{}\n", beside("not seen ", &printable(unseen))))?;
    }
    let of = |weight| verdict.findings.iter().filter(|finding| finding.weight == weight).count();
    let (faults, notes) = (of(Severity::Fault) as u64, of(Severity::Note) as u64);
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
        Severity::Fault => "FAULT ",
        Severity::Note => "note  ",
    };
    let named = objects.iter().take(NAMES).map(|name| printable(name)).collect::<Vec<_>>();
    let mut named = named.join(", ");
    if objects.len() > NAMES {
        named.push_str(&format!(" and {} more", objects.len() - NAMES));
    }
    let problem = beside(mark, &format!("{named}: {}", printable(problem)));
    format!("{problem}\n{}", beside("   so ", &printable(effect)))
}

fn beside(label: &str, text: &str) -> String {
    paragraph(label, text, label.len())
}

impl From<VerifyError> for Failure {
    fn from(VerifyError(error): VerifyError) -> Self {
        error.into()
    }
}
