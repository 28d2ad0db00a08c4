//! What scripts/get-clients.sh fetches for a test.

use std::path::PathBuf;
use std::process::Command;

use crate::docs::root;

/// Its folder; none if this machine cannot have it, which is said.
pub fn fetched(name: &str) -> Option<PathBuf> {
    let output = Command::new(root().join("scripts/get-clients.sh")).arg(name).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => said.lines().last().map(PathBuf::from),
        Some(3) => {
            eprintln!("{said}");
            None
        }
        _ => panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)),
    }
}
