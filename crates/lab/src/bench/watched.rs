//! In: process ids. Out: what those processes have used, all together.

use super::usage::{Usage, usage, usage_alone};

/// Processes whose CPU time and memory are told, by id.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// The Erlang VMs of all nodes.
    pub brokers: Vec<u32>,
    pub workers: Vec<u32>,
}

impl Watched {
    pub fn look(&self) -> Look {
        Look {
            brokers: self.brokers.iter().map(|pid| usage(*pid)).collect(),
            workers: self.workers.iter().map(|pid| usage(*pid)).collect(),
            generator: usage_alone(std::process::id()),
        }
    }
}

/// What one look at the watched processes saw.
#[derive(Debug, Clone, Default)]
pub struct Look {
    pub brokers: Vec<Option<Usage>>,
    pub workers: Vec<Option<Usage>>,
    /// The load generator: this process.
    pub generator: Option<Usage>,
}

impl Look {
    /// All nodes together, if all were seen.
    pub fn all_brokers(&self) -> Option<Usage> {
        sum(&self.brokers)
    }

    /// All workers together, if all were seen.
    pub fn all_workers(&self) -> Option<Usage> {
        sum(&self.workers)
    }
}

fn sum(usages: &[Option<Usage>]) -> Option<Usage> {
    let all: Option<Vec<Usage>> = usages.iter().copied().collect();
    let all = all.filter(|all| !all.is_empty())?;
    Some(Usage {
        cpu: all.iter().map(|usage| usage.cpu).sum(),
        memory_bytes: all.iter().map(|usage| usage.memory_bytes).sum(),
    })
}
