//! What a message with a key takes along to another broker.

use dormouse_core::control::{IfExists, take_along};
use dormouse_core::message::Message;
use dormouse_core::schedule::{DelayedMessage, StampedKey, UnixMs};

use super::{FRESH, Log, NOW, cancel, key, reschedule, unique};

const THERE: Option<u64> = Some(77);

fn sleeper(log: u64, name: &str, generation: Option<u64>) -> DelayedMessage {
    let mut delayed = DelayedMessage::accept(Message::default(), "", "id".into(), NOW, None);
    delayed.stamp.due = UnixMs(NOW.0 + 500);
    delayed.stamp.key = Some(StampedKey { key: key(name), log, generation, moved: None });
    delayed
}

#[test]
fn what_was_cancelled_or_replaced_stays_and_what_was_put_off_goes_as_it_is_now() {
    let mut log = Log::new();
    let here = log.state.log();
    for command in [cancel("cancelled"), reschedule("later", 900)] {
        log.decide(&command, FRESH);
    }
    log.decide(&unique("once", IfExists::Keep, 500, 1), FRESH);
    let first = log.state.get(&key("once").hash()).unwrap().generation;
    let goes = |log: &Log, delayed: &mut DelayedMessage| take_along(delayed, &log.state, THERE);

    assert!(!goes(&log, &mut sleeper(here, "cancelled", None)));
    let mut plain = sleeper(here, "plain", None);
    assert!(goes(&log, &mut plain));
    assert_eq!((plain.stamp.key.unwrap().log, plain.stamp.due), (77, UnixMs(NOW.0 + 500)));
    let mut later = sleeper(here, "later", None);
    assert!(goes(&log, &mut later));
    assert_eq!(later.stamp.due, UnixMs(NOW.0 + 900));
    // another attempt of it: that is what was put off
    let mut retried = sleeper(here, "later", None);
    retried.stamp.retry_at = Some(UnixMs(NOW.0 + 600));
    assert!(goes(&log, &mut retried));
    assert_eq!(retried.stamp.retry_at, Some(UnixMs(NOW.0 + 900)));
    assert_eq!(retried.stamp.due, UnixMs(NOW.0 + 500));

    let mut unique_one = sleeper(here, "once", Some(first));
    assert!(goes(&log, &mut unique_one));
    assert_eq!(unique_one.stamp.key.unwrap().generation, None, "a generation of this log");
    log.decide(&unique("once", IfExists::Replace, 600, 2), FRESH);
    assert!(!goes(&log, &mut sleeper(here, "once", Some(first))), "another has taken its place");

    // what waits for the operator here waits there
    let mut foreign = sleeper(99, "plain", None);
    assert!(goes(&log, &mut foreign));
    assert_eq!(foreign.stamp.key.unwrap().log, 99);
    // without a log there, its key is nobody's business
    let mut without = sleeper(here, "plain", None);
    assert!(take_along(&mut without, &log.state, None));
    assert_eq!(without.stamp.key.unwrap().log, here);
}
