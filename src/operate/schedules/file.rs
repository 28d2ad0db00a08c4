//! In: the text of a file. Out: the schedules in it, or every fault of them. Pure.
//!
//! ```toml
//! [[schedule]]
//! name = "nightly-report"
//! cron = "0 3 * * *"
//! zone = "Europe/Berlin"
//! target = { queue = "reports" }
//! body = { for = "{{date}}" }
//! ```

use std::collections::BTreeSet;

use dormouse_core::recurring::{Definition, Schedule};
use serde::Deserialize;

/// All of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct File {
    /// Checked, in the order of the file.
    pub schedules: Vec<Schedule>,
}

/// What is wrong in the file: a line for each fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct FileError(pub Vec<String>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    schedule: Vec<Definition>,
}

/// Errors: every fault of it.
pub fn read(text: &str) -> Result<File, FileError> {
    let written: Written =
        toml::from_str(text).map_err(|error| FileError(vec![error.to_string()]))?;
    let (mut faults, mut names, mut schedules) = (Vec::new(), BTreeSet::new(), Vec::new());
    for (number, definition) in written.schedule.into_iter().enumerate() {
        let name = definition.name.clone();
        match Schedule::new(definition) {
            Ok(schedule) => schedules.push(schedule),
            Err(wrong) => {
                let of = format!("schedule {:?} (number {})", name, number + 1);
                faults.extend(wrong.iter().map(|fault| format!("{of}: {fault}")));
            }
        }
        if !names.insert(name.clone()) {
            faults
                .push(format!("schedule {name:?} stands there twice: give each a name of its own"));
        }
    }
    if faults.is_empty() { Ok(File { schedules }) } else { Err(FileError(faults)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_or_each_fault_of_it_is_told() {
        let good = r#"
            [[schedule]]
            name = "a"
            every = "90s"
            target = { queue = "q" }
            [[schedule]]
            name = "b"
            cron = "@daily"
            zone = "Europe/Berlin"
            target = { exchange = "e", routing_key = "k" }
            body = { run = "{{run}}" }
            misfire = { fire = "all", at_most = 3 }
        "#;
        let read_good = read(good).unwrap();
        let names: Vec<_> = read_good.schedules.iter().map(Schedule::name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(read("").unwrap(), File::default());
        let example = read(include_str!("../../../examples/schedules.toml")).unwrap();
        assert_eq!(example.schedules.len(), 3);
        let bad = r#"
            [[schedule]]
            name = "a"
            every = "90"
            target = {}
            [[schedule]]
            name = "a"
            cron = "@daily"
            target = { queue = "q" }
        "#;
        let FileError(faults) = read(bad).unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:#?}");
        assert!(faults[0].starts_with("schedule \"a\" (number 1): every \"90\" has no unit"));
        assert!(faults[2].contains("stands there twice"));
        let unknown = read("[[schedule]]\nname = \"a\"\ncrn = \"* * * * *\"").unwrap_err();
        assert!(unknown.to_string().contains("unknown field `crn`"), "{unknown}");
    }
}
