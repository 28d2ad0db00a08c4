//! What every part of the comparison measures under.

use std::path::PathBuf;

use dormouse::config::Config;

/// How a part measures.
#[derive(Clone)]
pub(super) struct Bench {
    pub rounds: usize,
    pub seconds: u64,
    pub pending: u64,
    pub subjects: Vec<String>,
    /// Of Dormouse's worker.
    pub settings: Vec<String>,
    /// The configuration that these settings make, on the broker under test.
    pub config: Config,
    /// `dormouse`, beside this program.
    pub worker: PathBuf,
    /// This program, which is also the relay.
    pub own: PathBuf,
}
