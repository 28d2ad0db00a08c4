//! The node's log: one file a start, and the one before it, which says how the broker ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::NodeError;

/// What an error shows of it.
const EXCERPT_LINES: usize = 20;

/// How RabbitMQ, Erlang's distribution and Docker say that a port is taken.
const PORT_TAKEN: [&str; 3] = ["eaddrinuse", "address already in use", "port is already allocated"];

#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Log {
        Log { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty log, for a start. The one before moves to `broker.log.1`.
    pub(super) fn begin(&self) -> Result<File, NodeError> {
        // It fails at the first start, when there is none.
        let _ = fs::rename(&self.path, self.path.with_extension("log.1"));
        File::create(&self.path).map_err(NodeError::file(&self.path))
    }

    pub(super) fn says_port_taken(&self) -> bool {
        let log = self.read();
        PORT_TAKEN.iter().any(|words| log.contains(words))
    }

    /// The log from its first error on, for what follows is mostly its consequences, or else its end.
    pub(super) fn excerpt(&self) -> String {
        excerpt(&self.read())
    }

    fn read(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn excerpt(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let first_error = lines.iter().position(|line| line.contains("[error]"));
    let start = first_error.unwrap_or(lines.len().saturating_sub(EXCERPT_LINES));
    lines.iter().skip(start).take(EXCERPT_LINES).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_starts_at_the_first_error() {
        assert_eq!(
            excerpt("[info] a\n\n[error] cause\n[error] effect\n"),
            "[error] cause\n[error] effect"
        );
    }

    #[test]
    fn an_excerpt_of_a_log_without_errors_is_its_end() {
        let log: String = (1..=100).map(|line| format!("[info] {line}\n")).collect();
        let excerpt = excerpt(&log);
        assert!(excerpt.starts_with("[info] 81\n") && excerpt.ends_with("[info] 100"), "{excerpt}");
    }
}
