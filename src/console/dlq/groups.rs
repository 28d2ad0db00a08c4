//! What lies in the DLQ, by reason and target. In: messages. Out: groups, the largest first. Pure.

use std::collections::BTreeMap;

use crate::operate::dlq::Entry;
use crate::schedule::UnixMs;

/// What a person asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub reason: Option<String>,
    /// As [`goes_to`] has it.
    pub target: Option<String>,
}

/// Messages with one reason and one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub reason: &'static str,
    pub target: String,
    pub messages: u64,
    /// Of their last failures; none if nobody has noted one.
    pub oldest: Option<UnixMs>,
    pub newest: Option<UnixMs>,
}

/// Where it was to go: a queue that it was to go back to, a queue, or exchange and routing key.
pub fn goes_to(entry: &Entry) -> String {
    match (entry.queue(), entry.exchange()) {
        (Some(queue), _) => format!("back to {queue}"),
        (None, "") => entry.routing_key().to_owned(),
        (None, exchange) => format!("{exchange}/{}", entry.routing_key()),
    }
}

impl Wanted {
    pub fn has(&self, entry: &Entry) -> bool {
        self.reason.as_ref().is_none_or(|reason| reason == entry.reason_text())
            && self.target.as_ref().is_none_or(|target| *target == goes_to(entry))
    }

    /// In words, as it is repeated before something is done.
    pub fn words(&self) -> String {
        match (&self.reason, &self.target) {
            (None, None) => "all messages".into(),
            (Some(reason), None) => format!("reason = {reason}"),
            (None, Some(target)) => format!("target = {target}"),
            (Some(reason), Some(target)) => format!("reason = {reason}, target = {target}"),
        }
    }
}

/// All of them, in groups.
pub fn groups(entries: &[Entry]) -> Vec<Group> {
    let mut groups: BTreeMap<(&'static str, String), Group> = BTreeMap::new();
    for entry in entries {
        let (reason, target) = (entry.reason_text(), goes_to(entry));
        let failed = entry.failure().map(|failure| failure.last);
        let group = groups.entry((reason, target.clone())).or_insert_with(|| Group {
            reason,
            target,
            messages: 0,
            oldest: failed,
            newest: failed,
        });
        group.messages += 1;
        group.oldest = [group.oldest, failed].into_iter().flatten().min();
        group.newest = group.newest.max(failed);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.messages));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn entry(routing_key: &str) -> Entry {
        let message = Message { routing_key: routing_key.into(), ..Message::default() };
        Entry { tag: 1, id: "1".into(), message, delayed: None, dropped: None }
    }

    #[test]
    fn the_largest_group_is_first_and_a_filter_fits_its_group_only() {
        let entries = [entry("a"), entry("b"), entry("b")];
        let groups = groups(&entries);
        let told: Vec<_> =
            groups.iter().map(|group| (group.target.as_str(), group.messages)).collect();
        assert_eq!(told, [("b", 2), ("a", 1)]);
        let wanted = Wanted { reason: Some("?".into()), target: Some("b".into()) };
        assert_eq!(entries.iter().filter(|entry| wanted.has(entry)).count(), 2);
        assert_eq!(wanted.words(), "reason = ?, target = b");
        assert!(Wanted::default().has(&entries[0]));
        assert!(!Wanted { reason: Some("unroutable".into()), target: None }.has(&entries[0]));
    }
}
