//! What a client writes is what a registrar reads, and the other way round.

use dormouse_core::control::command::{self, MOST_KEYS};
use dormouse_core::control::{Command, Key, Outcome, Refusal, Reply, Told};
use dormouse_core::schedule::UnixMs;
use fastrand::Rng;

use super::{NOW, key};

/// Any text of 1 to 255 bytes, the characters included that JSON escapes.
fn any_key(rng: &mut Rng) -> Key {
    const AWKWARD: [char; 8] = ['"', '\\', '\0', '\n', '\u{7f}', 'ü', '漢', '🦔'];
    let mut text = String::from("k");
    for _ in 0..rng.usize(..60) {
        text.push(if rng.bool() { AWKWARD[rng.usize(..8)] } else { rng.alphanumeric() });
    }
    key(&text)
}

#[test]
fn a_command_is_read_as_it_was_written() {
    let mut rng = Rng::with_seed(7);
    for count in [1, 2, 3, 10, 500, MOST_KEYS] {
        let keys: Vec<_> = (0..count).map(|_| any_key(&mut rng)).collect();
        for due_by in [None, Some(UnixMs(0)), Some(NOW), Some(UnixMs(i64::MAX as u64))] {
            let message = command::cancel("dormouse.command", &keys, due_by);
            assert_eq!(message.exchange, "dormouse.command");
            assert_eq!(message.properties.delivery_mode, Some(2), "it outlives a broker");
            let keys = keys.clone();
            assert_eq!(Command::read(&message), Ok(Command::Cancel { keys, due_by }));
        }
        let message = command::reschedule("dormouse.command", &keys, NOW);
        assert_eq!(Command::read(&message), Ok(Command::Reschedule { keys, due: NOW }));
    }
    // the longest keys, each byte of them escaped to six
    let longest = vec![key(&"\u{1}".repeat(255)); MOST_KEYS];
    let message = command::cancel("", &longest, Some(NOW));
    assert_eq!(Command::read(&message), Ok(Command::Cancel { keys: longest, due_by: Some(NOW) }));
}

fn any_outcome(rng: &mut Rng) -> Outcome {
    match rng.u8(..13) {
        0 => Outcome::Cancelled,
        1 => Outcome::Noted,
        2 => Outcome::TooLate,
        3 => Outcome::Unknown,
        4 => Outcome::Kept,
        5 => Outcome::Replaced,
        6 => Outcome::Scheduled,
        7 => Outcome::Running,
        8 => Outcome::Moved,
        9 => Outcome::NotFound,
        10 => Outcome::TooDeep,
        11 => Outcome::Refused(Refusal::Json("expected `,` at \"line\" 1".into())),
        _ => Outcome::Refused(Refusal::NotLater { stands: NOW }),
    }
}

#[test]
fn a_reply_is_read_as_it_was_written() {
    let mut rng = Rng::with_seed(8);
    for count in [0, 1, 2, 30, MOST_KEYS] {
        let keys: Vec<_> = (0..count).map(|_| any_key(&mut rng)).collect();
        let outcomes: Vec<_> = (0..count).map(|_| any_outcome(&mut rng)).collect();
        let told = keys.iter().zip(&outcomes).map(|(key, outcome)| Told {
            key: key.to_string(),
            outcome: outcome.clone().in_words(),
        });
        let told = Reply::Results(told.collect());
        let reply = Reply::to_keys(&keys, outcomes);
        assert_eq!(reply, told);
        assert_eq!(Reply::decode(&reply.encode()).unwrap(), told);
    }
    let reply = Reply::to_unreadable(&Refusal::NoKey);
    assert_eq!(Reply::decode(&reply.encode()).unwrap(), Reply::Refused(Refusal::NoKey.to_string()));
}

/// Clients in other languages read these words.
#[test]
fn the_words_of_a_reply_stand() {
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"].map(key);
    let outcomes = vec![
        Outcome::Cancelled,
        Outcome::Noted,
        Outcome::TooLate,
        Outcome::Unknown,
        Outcome::Kept,
        Outcome::Replaced,
        Outcome::Scheduled,
        Outcome::Running,
        Outcome::Moved,
        Outcome::NotFound,
        Outcome::TooDeep,
        Outcome::Refused(Refusal::Cancelled),
    ];
    let written = String::from_utf8(Reply::to_keys(&keys, outcomes).encode()).unwrap();
    let lines = [
        r#"{"results":[{"key":"a","outcome":"cancelled"}"#,
        r#"{"key":"b","outcome":"noted"}"#,
        r#"{"key":"c","outcome":"too-late","may_have_arrived":true}"#,
        r#"{"key":"d","outcome":"unknown"}"#,
        r#"{"key":"e","outcome":"kept"}"#,
        r#"{"key":"f","outcome":"replaced"}"#,
        r#"{"key":"g","outcome":"scheduled"}"#,
        r#"{"key":"h","outcome":"running"}"#,
        r#"{"key":"i","outcome":"moved"}"#,
        r#"{"key":"j","outcome":"not-found"}"#,
        r#"{"key":"k","outcome":"too-deep"}"#,
        r#"{"key":"l","outcome":"refused","reason":"it was cancelled"}]}"#,
    ];
    assert_eq!(written, lines.join(","));
    let refused = Reply::to_unreadable(&Refusal::Priority).encode();
    let reason = Refusal::Priority;
    assert_eq!(
        String::from_utf8(refused).unwrap(),
        format!(r#"{{"results":[],"refused":"{reason}"}}"#)
    );
}

#[test]
fn a_later_worker_may_say_more_but_no_word_is_guessed() {
    let more = br#"{"results":[{"key":"a","outcome":"noted","due_ms":7}],"worker":"w"}"#;
    let told = Told { key: "a".into(), outcome: Outcome::Noted };
    assert_eq!(Reply::decode(more).unwrap(), Reply::Results(vec![told]));
    for body in [
        "",
        "[]",
        "{}",
        r#"{"results":[{"key":"a"}]}"#,
        r#"{"results":[{"key":"a","outcome":"x"}]}"#,
    ] {
        assert!(Reply::decode(body.as_bytes()).is_err(), "{body}");
    }
}
