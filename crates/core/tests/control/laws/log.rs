//! The log: its encoding, and what a reader knows.

use std::time::Duration;

use dormouse_core::control::{
    Batch, Beginning, Blindness, Candidate, Entry, Fence, Horizons, IfExists, KeyHash, LogMessage,
    LogTime, Outcome, Read, Record, State, Unreadable,
};
use dormouse_core::schedule::UnixMs;
use fastrand::Rng;

use super::{FRESH, LIMITS, Log, NOW, all_that_is_so, cancel, elect, key, random_command, unique};

#[test]
fn what_is_encoded_is_decoded() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..2_000 {
        let mut horizons = Horizons::default();
        (0..rng.u64(0..4)).for_each(|_| horizons.note(rng.u64(..), UnixMs(rng.u64(..))));
        let any = |rng: &mut Rng| rng.u64(..) >> rng.u32(0..64);
        let record = Record {
            generation: any(&mut rng),
            due: rng.bool().then(|| UnixMs(any(&mut rng))),
            cancelled: rng.bool(),
            was_cancelled: rng.bool(),
            tried: rng.bool(),
            retaken: rng.bool(),
            run_now: rng.bool(),
            until: LogTime(rng.u32(..)),
        };
        let beginning = Beginning {
            log: any(&mut rng),
            log_time: LogTime(rng.u32(..)),
            horizons,
            accepted: (0..rng.u64(0..3)).collect(),
            decided: (0..rng.u64(0..5)).map(|message| (message, rng.bool())).collect(),
        };
        let entries = vec![
            Entry::Put { key: KeyHash(rng.u128(..).to_le_bytes()), record },
            Entry::Decided { message: any(&mut rng), kept: rng.bool() },
            Entry::Fence(Fence {
                worker: any(&mut rng),
                number: any(&mut rng),
                horizon: UnixMs(any(&mut rng)),
            }),
            Entry::Beat { seconds: rng.u8(0..=60) },
            Entry::CheckpointBegin(Box::new(beginning)),
            Entry::CheckpointEnd,
            Entry::Accept { log: any(&mut rng) },
            Entry::Unknown { kind: rng.u8(100..) },
        ];
        let message = LogMessage::Batch(Batch {
            epoch: any(&mut rng),
            after: any(&mut rng),
            first: any(&mut rng),
            entries,
        });
        let bytes = message.encode();
        assert_eq!(LogMessage::decode(&bytes).as_ref(), Ok(&message));
        // cut or garbled, it is foreign or another message: never a panic
        let _ = LogMessage::decode(&bytes[..rng.usize(0..bytes.len())]);
        let mut garbled = bytes;
        let at = rng.usize(0..garbled.len());
        garbled[at] ^= 1 << rng.u8(0..8);
        let _ = LogMessage::decode(&garbled);
    }
}

/// These bytes are in logs that exist: a change of them is another version.
#[test]
fn the_encoding_is_the_first_version() {
    let record =
        Record { generation: 300, due: Some(UnixMs(1_000)), cancelled: true, ..Record::default() };
    let entries = vec![Entry::Put { key: KeyHash([7; 16]), record }, Entry::Beat { seconds: 10 }];
    let bytes = LogMessage::Batch(Batch { epoch: 1, after: 2, first: 3, entries }).encode();
    let mut expected = b"dl\x01\x01".to_vec();
    [1_u64, 2, 3].iter().for_each(|number| expected.extend_from_slice(&number.to_le_bytes()));
    expected.extend_from_slice(&[1, 22]);
    expected.extend_from_slice(&[7; 16]);
    expected.extend_from_slice(&[9, 0xac, 2, 0xe8, 7, 0, 3, 1, 10]);
    assert_eq!(bytes, expected);
    let hash = key("order-17").hash();
    assert_eq!(format!("{hash:?}"), "key:89031a9f");
}

#[test]
fn a_later_version_makes_blind_and_what_may_be_ignored_does_not() {
    let mut log = Log::new();
    let batch = |state: &State, kind| {
        let entries = vec![Entry::Unknown { kind }];
        Batch {
            epoch: state.epoch(),
            after: state.last(),
            first: state.last().max(state.base()) + 1,
            entries,
        }
    };
    let harmless = LogMessage::Batch(batch(&log.state, 200));
    assert_eq!(log.state.read(&harmless), Read::Applied);
    assert_eq!(log.state.blindness(), None);
    let unknown = LogMessage::Batch(batch(&log.state, 90));
    assert_eq!(log.state.read(&unknown), Read::Applied);
    assert_eq!(log.state.blindness(), Some(Blindness::NewerVersion));
    assert_eq!(Candidate::new(&log.state, 9, NOW, 0), Err(Blindness::NewerVersion));

    let mut log = Log::new();
    assert_eq!(LogMessage::decode(b"dl\x02\x01what?"), Err(Unreadable::NewerVersion(2)));
    assert_eq!(LogMessage::decode(b"something else"), Err(Unreadable::Foreign));
    log.state.skip(Unreadable::Foreign);
    assert_eq!(log.state.blindness(), None);
    log.state.skip(Unreadable::NewerVersion(2));
    assert_eq!(log.state.blindness(), Some(Blindness::NewerVersion));
}

/// A reader that begins anywhere knows the same as one that read everything, once a checkpoint has come by, and
/// knows that it knows nothing before.
#[test]
fn a_checkpoint_and_the_rest_are_the_whole_log() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut log = Log::new();
        let mut checkpoints = Vec::new();
        for number in 0..rng.u64(20..120) {
            match rng.u8(0..12) {
                0 => log.another_registrar(number + 10),
                1 => log.registrar.beat(Duration::from_secs(rng.u64(0..200))),
                2 => {
                    let begins_at = log.messages.len();
                    while !log.registrar.checkpoint(&log.state) {}
                    log.append();
                    checkpoints.push((begins_at, log.messages.len()));
                }
                _ => {
                    log.decide(&random_command(&mut rng), FRESH);
                }
            }
        }
        log.append();
        for from in 1..log.messages.len() {
            let mut state = State::default();
            for (at, message) in log.messages.iter().enumerate().skip(from) {
                let _ = state.read(message);
                let saw_one =
                    checkpoints.iter().any(|(begin, end)| from <= *begin && *end <= at + 1);
                assert_eq!(!state.is_blind(), saw_one, "seed {seed}, from {from}, at {at}");
            }
            if !state.is_blind() {
                assert_eq!(
                    all_that_is_so(&state),
                    all_that_is_so(&log.state),
                    "seed {seed}, from {from}"
                );
                assert_eq!(state.log(), log.state.log());
                assert_eq!(state.log_time(), log.state.log_time());
                assert_eq!(state.last(), log.state.last());
            }
        }
    }
}

#[test]
fn to_read_twice_changes_nothing_and_to_miss_something_blinds() {
    let mut rng = Rng::with_seed(3);
    let mut log = Log::new();
    for _ in 0..60 {
        log.decide(&random_command(&mut rng), FRESH);
    }
    let before = all_that_is_so(&log.state);
    for message in log.messages.clone() {
        assert_eq!(log.state.read(&message), Read::Void);
    }
    assert_eq!(all_that_is_so(&log.state), before);
    for missed in 1..log.messages.len() - 1 {
        let mut state = State::default();
        let others = log.messages.iter().enumerate().filter(|(at, _)| *at != missed);
        others.for_each(|(_, message)| {
            let _ = state.read(message);
        });
        assert_eq!(state.blindness(), Some(Blindness::Truncated), "{missed}");
    }
}

#[test]
fn only_who_names_the_newest_epoch_begins_another() {
    let mut log = Log::new();
    let stale = Candidate::new(&log.state, 2, NOW, 0).unwrap();
    let mut old = elect(&mut log.state.clone(), &mut Vec::new(), 3);
    log.another_registrar(4);
    assert_eq!(log.state.read(&LogMessage::Epoch(stale.epoch)), Read::Void);
    assert!(stale.elected(&log.state).is_none());
    // what an earlier one wrote counts for nobody, before the new one wrote anything, and after
    old.decide(&State::default(), &LIMITS, FRESH, &cancel("k0"));
    let late = LogMessage::Batch(old.take_batch().unwrap());
    let genuine = log.decide(&unique("k0", IfExists::Keep, 5_000, 1), FRESH);
    assert_eq!(genuine, Outcome::Scheduled);
    let _ = log.state.read(&late);
    assert!(!log.state.get(&key("k0").hash()).unwrap().cancelled);
}
