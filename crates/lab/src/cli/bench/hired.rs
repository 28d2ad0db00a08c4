//! The worker of a bench, the name of its run, and how a bench leaves.

use std::path::PathBuf;

use dormouse::cli::{Exit, Failure};

use crate::bench::Environment;

/// What a worker of the bench is started with.
pub struct Hired {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

impl Hired {
    /// With further roles, which need this set.
    pub fn with(mut self, roles: &str, set: String) -> Self {
        self.arguments.extend(["--roles".to_owned(), roles.to_owned(), "--set".to_owned(), set]);
        self
    }
}

/// A name for a virtual host, and for what is of this run in a folder.
pub fn new_name() -> String {
    format!("dormouse-bench-{}", uuid::Uuid::now_v7().simple())
}

/// Leaves nothing behind, and then tells.
pub async fn ended<T>(
    environment: Environment,
    told: Result<T, Failure>,
    tell: impl FnOnce(T) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    if let Some(problem) = environment.leave().await {
        eprintln!("dormouse-lab: {problem}");
    }
    tell(told?)
}
