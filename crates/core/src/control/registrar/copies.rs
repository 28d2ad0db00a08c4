//! In: what was returned at each election. Out: whether a command came twice because its publisher sent it twice.

use std::collections::BTreeSet;

use crate::control::command::Command;

/// The commands that one process saw returned twice, at the last election that it took part in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copies(BTreeSet<u64>);

impl Copies {
    /// False if one came twice that had not come twice the time before: a channel that was taken for dead and is
    /// active again holds what was returned meanwhile. Another channel begins with nothing, so what comes twice
    /// there, too, are copies: a publisher that heard of no confirm publishes once more what it has published.
    pub(super) fn are_known(&mut self, returned: &[Command]) -> bool {
        let mut seen = BTreeSet::new();
        let marked = returned.iter().filter_map(Command::mark);
        let twice: BTreeSet<u64> = marked.filter(|mark| !seen.insert(*mark)).collect();
        let are_known = twice.is_subset(&self.0);
        self.0 = twice;
        are_known
    }
}
