//! A file of schedules against those that stand: what it would change, and carrying that out.

use std::collections::BTreeMap;

use dormouse_client::{Definition, ScheduleError, Schedules, Shown};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value as Json, json};

use super::file::File;

/// Steps that wait for their answers: a registrar decides some hundred commands together, and other commands come in between.
const TOGETHER: usize = 100;

/// What a file would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Those of the file in its order, then those that it no longer has.
    pub steps: Vec<Step>,
}

/// Of one schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub change: Change,
    /// How it stood when the plan was made; 0 if there was none.
    pub revision: u64,
}

/// What happens to one schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Create,
    /// Fields that differ: what stands, and what the file says.
    Change(Vec<(String, String, String)>),
    /// It is as the file says.
    None,
    /// The file does not have it, and it goes.
    Delete,
    /// The file does not have it, and it stays.
    Keep,
}

/// What became of a step.
#[derive(Debug)]
pub struct Applied {
    /// What was to be done.
    pub step: Step,
    /// None if nothing was.
    pub outcome: Option<Result<&'static str, ScheduleError>>,
}

impl Change {
    /// As shown.
    pub fn as_str(&self) -> &'static str {
        match self {
            Change::Create => "create",
            Change::Change(_) => "change",
            Change::None => "as it is",
            Change::Delete => "delete",
            Change::Keep => "keep",
        }
    }

    /// Whether something is done.
    pub fn is_some(&self) -> bool {
        match self {
            Change::Create | Change::Change(_) | Change::Delete => true,
            Change::None | Change::Keep => false,
        }
    }
}

/// What `file` would change; what it does not have is deleted if it `prunes`. Pure.
pub fn plan(file: &File, stand: &[Shown], prunes: bool) -> Plan {
    let mut left: BTreeMap<&str, &Shown> =
        stand.iter().map(|shown| (shown.definition.name.as_str(), shown)).collect();
    let mut steps = Vec::new();
    for schedule in &file.schedules {
        let (change, revision) = match left.remove(schedule.name()) {
            None => (Change::Create, 0),
            Some(shown) if shown.definition == schedule.definition => {
                (Change::None, shown.revision)
            }
            Some(shown) => {
                let fields =
                    differences(&to_json(&shown.definition), &to_json(&schedule.definition));
                (Change::Change(fields), shown.revision)
            }
        };
        steps.push(Step { name: schedule.name().to_owned(), change, revision });
    }
    for (name, shown) in left {
        let change = if prunes { Change::Delete } else { Change::Keep };
        steps.push(Step { name: name.to_owned(), change, revision: shown.revision });
    }
    Plan { steps }
}

fn to_json(definition: &Definition) -> Json {
    serde_json::to_value(definition).expect("texts and numbers are JSON")
}

fn differences(stands: &Json, wanted: &Json) -> Vec<(String, String, String)> {
    let none = serde_json::Map::new();
    let (stands, wanted) =
        (stands.as_object().unwrap_or(&none), wanted.as_object().unwrap_or(&none));
    let told = |value: Option<&Json>| match value {
        None => "-".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let mut names: Vec<_> = stands.keys().chain(wanted.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| stands.get(*name) != wanted.get(*name))
        .map(|name| (name.clone(), told(stands.get(name)), told(wanted.get(name))))
        .collect()
}

/// Carries a plan out, some steps at a time. A schedule that was changed since the plan was made is left as it is, and refused:
/// so of two files that are deployed at once neither takes back what the other said.
pub async fn apply(schedules: &Schedules, file: &File, plan: Plan) -> Vec<Applied> {
    let definitions: BTreeMap<&str, &Definition> =
        file.schedules.iter().map(|schedule| (schedule.name(), &schedule.definition)).collect();
    let applied = stream::iter(plan.steps).map(|step| {
        let definition = definitions.get(step.name.as_str()).copied();
        carry_out(schedules, step, definition)
    });
    applied.buffered(TOGETHER).collect().await
}

async fn carry_out(schedules: &Schedules, step: Step, definition: Option<&Definition>) -> Applied {
    let outcome = match (&step.change, definition) {
        (Change::Create | Change::Change(_), Some(definition)) => {
            Some(schedules.put_if(definition, step.revision).await)
        }
        (Change::Delete, _) => Some(schedules.delete(&step.name, Some(step.revision)).await),
        (Change::Create | Change::Change(_) | Change::None | Change::Keep, _) => None,
    };
    let outcome = outcome.map(|told| told.map(|holds| holds.outcome.as_str()));
    Applied { step, outcome }
}

impl Plan {
    /// Whether anything would be done.
    pub fn is_empty(&self) -> bool {
        !self.steps.iter().any(|step| step.change.is_some())
    }

    /// What programs get.
    pub fn document(&self) -> Json {
        let steps: Vec<_> = self.steps.iter().map(Step::document).collect();
        json!({ "steps": steps })
    }
}

impl Step {
    fn document(&self) -> Json {
        let mut told = json!({ "name": self.name, "change": self.change.as_str(), "revision": self.revision.to_string() });
        if let Change::Change(fields) = &self.change {
            let fields = fields.iter().map(|(field, stands, wanted)| {
                json!({ "field": field, "stands": stands, "wanted": wanted })
            });
            told["fields"] = fields.collect();
        }
        told
    }
}

impl Applied {
    /// What programs get.
    pub fn document(&self) -> Json {
        let mut told = self.step.document();
        match &self.outcome {
            None => {}
            Some(Ok(outcome)) => told["outcome"] = (*outcome).into(),
            Some(Err(error)) => told["error"] = error.to_string().into(),
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::schedules::file::read;

    fn shown(text: &str, revision: u64) -> Shown {
        let schedule = read(text).unwrap().schedules.remove(0);
        serde_json::from_value(json!({
            "definition": schedule.definition, "revision": revision, "changed_ms": 0, "runs": 0
        }))
        .unwrap()
    }

    #[test]
    fn a_file_creates_changes_and_only_if_told_to_deletes() {
        let a = "[[schedule]]\nname = \"a\"\nevery = \"1m\"\ntarget = { queue = \"q\" }\n";
        let b = a.replace("\"a\"", "\"b\"");
        let c = a.replace("\"a\"", "\"c\"");
        let changed = a.replace("1m", "2m") + "jitter = \"3s\"\n";
        let file = read(&format!("{changed}{b}")).unwrap();
        let stand = [shown(a, 7), shown(&c, 8)];
        let of = |prunes| {
            let steps = plan(&file, &stand, prunes).steps.into_iter();
            steps.map(|step| (step.name, step.change, step.revision)).collect::<Vec<_>>()
        };
        let fields = vec![
            ("every".into(), "1m".into(), "2m".into()),
            ("jitter".into(), "-".into(), "3s".into()),
        ];
        let changes = |last| {
            vec![
                ("a".to_owned(), Change::Change(fields.clone()), 7),
                ("b".to_owned(), Change::Create, 0),
                ("c".to_owned(), last, 8),
            ]
        };
        assert_eq!(of(false), changes(Change::Keep));
        assert_eq!(of(true), changes(Change::Delete));
        let same = plan(&read(a).unwrap(), &[shown(a, 7)], true);
        assert!(same.is_empty());
    }
}
