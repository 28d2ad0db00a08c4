//! What scripts/get-clients.sh fetches for a test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Its folder; none if this machine cannot have it, which is said.
pub fn fetched(name: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/get-clients.sh");
    let output = Command::new(script).arg(name).output().unwrap();
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
