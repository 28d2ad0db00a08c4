//! What a million keys take.

use dormouse_core::control::{
    Batch, Candidate, Entry, KeyHash, LogMessage, LogTime, Read, Record, State,
};
use dormouse_core::schedule::UnixMs;
use fastrand::Rng;

const KEYS: usize = 1_000_000;
const IN_A_BATCH: usize = 500;

/// Resident memory of this process.
fn resident_bytes() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4096)
}

#[test]
fn a_million_keys_take_64_bytes_each_at_most() {
    let mut rng = Rng::with_seed(1);
    let mut state = State::default();
    let epoch = Candidate::new(&state, 7, UnixMs(1_000_000_000), 0).unwrap().epoch;
    assert_eq!(state.read(&LogMessage::Epoch(epoch)), Read::Applied);
    let before = resident_bytes();
    let (mut after, mut first, mut encoded) = (0, epoch.base, 0);
    for _ in 0..KEYS / IN_A_BATCH {
        let put = |_| Entry::Put {
            key: KeyHash(rng.u128(..).to_le_bytes()),
            record: Record {
                generation: epoch.base + 17,
                due: Some(UnixMs(1_000_000_000_000)),
                until: LogTime(90_000),
                ..Record::default()
            },
        };
        let entries = (0..IN_A_BATCH).map(put).collect();
        let batch = LogMessage::Batch(Batch { epoch: 7, after, first, entries });
        let bytes = batch.encode();
        encoded += bytes.len();
        assert_eq!(state.read(&LogMessage::decode(&bytes).unwrap()), Read::Applied);
        (after, first) = (state.last(), state.last() + 1);
    }
    let (keys, bytes) = state.keys_and_bytes();
    assert_eq!(keys, KEYS);
    let by_count = bytes / KEYS;
    let resident =
        resident_bytes().zip(before).map(|(after, before)| after.saturating_sub(before) / KEYS);
    println!("a key takes {by_count} bytes, {resident:?} resident; {} in the log", encoded / KEYS);
    assert!(by_count <= 48, "{by_count}");
    // what other tests of this process take meanwhile is little
    assert!(resident.is_none_or(|resident| resident <= 64), "{resident:?}");
}
