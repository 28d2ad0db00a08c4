//! Laws of the marks in memory, and of ids.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dormouse_client::once::{Begin, Id, InvalidId, Marks, MemorySettings, StoreError};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    InProgress,
    Done(Instant),
}

proptest! {
    /// Against what was asked so far: one claim a message; what is in progress is never forgotten,
    /// what is done only when it is old or the oldest of too many; never more than the most.
    #[test]
    fn marks_are_kept_as_long_as_they_may(
        most in 1usize..12,
        remember_s in 1u64..100,
        steps in proptest::collection::vec((0u64..20, 0u32..20, 0u8..4), 1..400),
    ) {
        let retry_after = SECOND * 3;
        let remember = SECOND * remember_s as u32;
        let mut marks = Marks::new(MemorySettings { most, remember, retry_after });
        let mut seen: HashMap<u32, Seen> = HashMap::new();
        let mut now = Instant::now();
        for (wait_s, number, what) in steps {
            now += SECOND * wait_s as u32;
            let id = Id::new(number.to_string()).unwrap();
            let in_progress = seen.get(&number) == Some(&Seen::InProgress);
            match what {
                0 if in_progress => {
                    marks.complete(now, &id);
                    seen.insert(number, Seen::Done(now));
                }
                1 if in_progress => {
                    marks.abort(&id);
                    seen.remove(&number);
                }
                _ => {
                    seen.retain(|_, seen| !matches!(seen, Seen::Done(at) if now - *at >= remember));
                    let oldest = seen.values().filter_map(|seen| match seen {
                        Seen::Done(at) => Some(*at),
                        Seen::InProgress => None,
                    }).min();
                    match (seen.get(&number), marks.begin(now, &id)) {
                        (None, Ok(Begin::New(()))) => {
                            if seen.len() >= most {
                                // of those that were done at the same time, whichever it was
                                let gone = seen.iter().find(|(other, seen)| {
                                    **seen == Seen::Done(oldest.unwrap()) && {
                                        let other = Id::new(other.to_string()).unwrap();
                                        !marks.knows(&other)
                                    }
                                }).map(|(number, _)| *number);
                                prop_assert!(gone.is_some(), "the oldest goes");
                                seen.remove(&gone.unwrap());
                            }
                            seen.insert(number, Seen::InProgress);
                        }
                        (None, Err(StoreError::Full(held))) => {
                            prop_assert!(held == most && oldest.is_none(), "nothing can go");
                        }
                        (Some(Seen::InProgress), Ok(Begin::InProgress { retry_after: after })) => {
                            prop_assert_eq!(after, retry_after);
                        }
                        (Some(Seen::Done(_)), Ok(Begin::Done)) => {}
                        (seen, answer) => prop_assert!(false, "{seen:?}: {answer:?}"),
                    }
                    prop_assert_eq!(marks.len(), seen.len());
                    prop_assert!(marks.len() <= most);
                }
            }
        }
    }
}

#[test]
fn an_id_is_one_that_every_store_can_keep() {
    assert_eq!(Id::new("").unwrap_err(), InvalidId::Empty);
    assert_eq!(Id::new("a\0b").unwrap_err(), InvalidId::Nul);
    assert_eq!(Id::new("ü".repeat(513)).unwrap_err(), InvalidId::TooLong(1_026));
    assert_eq!(Id::new("ü".repeat(512)).unwrap().as_str().len(), 1_024);
}

/// Numbers and times that a caller may choose: nothing panics, and a store takes at least one message.
#[test]
fn no_setting_of_a_store_panics() {
    let now = Instant::now();
    for most in [0, 1, usize::MAX] {
        for time in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let mut marks = Marks::new(MemorySettings { most, remember: time, retry_after: time });
            for number in 0..3 {
                let id = Id::new(number.to_string()).unwrap();
                assert_eq!(marks.begin(now, &id).unwrap(), Begin::New(()), "{most} {time:?}");
                marks.complete(now, &id);
            }
        }
    }
}

#[test]
fn a_pool_has_at_least_one_connection_and_no_number_is_too_many() {
    use dormouse_client::once::{Postgres, PostgresSettings};
    for connections in [0, usize::MAX] {
        let settings = PostgresSettings { connections, ..PostgresSettings::new("orders") };
        let _ = Postgres::new(tokio_postgres::Config::new(), tokio_postgres::NoTls, settings);
    }
}
