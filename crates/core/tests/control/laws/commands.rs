//! What is read from a message, or refused.

use dormouse_core::control::command::{self, LONGEST_REFUSED_VERB, MOST_KEYS, read_unique};
use dormouse_core::control::{Command, Fence, IfExists, KeyFault, Refusal};
use dormouse_core::message::{Message, Value, text};
use dormouse_core::schedule::UnixMs;

use super::{NOW, bring_forward, cancel, key, reschedule, run_now, unique};

fn message(verb: &str, header: Option<Value>, body: &str) -> Message {
    let mut message =
        Message { routing_key: verb.into(), body: body.to_owned().into(), ..Message::default() };
    if let Some(value) = header {
        message.properties.headers.insert("x-dormouse-key".into(), value);
    }
    message
}

#[test]
fn commands_are_read_or_refused() {
    fn read(verb: &str, header: Option<Value>, body: &str) -> Result<Command, Refusal> {
        Command::read(&message(verb, header, body))
    }
    let one = |name: &str| Ok(cancel(name));
    assert_eq!(read("cancel", Some(text("a")), ""), one("a"));
    assert_eq!(read("cancel", Some(Value::ShortString("a".into())), "{ no json"), one("a"));
    assert_eq!(read("cancel", None, r#"{"keys": ["a"]}"#), one("a"));
    let keys = vec![key("a"), key("ü")];
    let due_by = Some(UnixMs(7));
    assert_eq!(
        read("cancel", None, r#"{"keys": ["a", "ü"], "due_ms": 7}"#),
        Ok(Command::Cancel { keys, due_by })
    );
    assert_eq!(read("cancel", None, ""), Err(Refusal::NoKey));
    assert_eq!(read("cancel", None, r#"{"keys": []}"#), Err(Refusal::NoKey));
    assert_eq!(
        read("cancel", Some(Value::Boolean(true)), ""),
        Err(Refusal::Key(KeyFault::NoString))
    );
    assert_eq!(read("cancel", Some(text("")), ""), Err(Refusal::Key(KeyFault::Empty)));
    assert_eq!(read("cancel", Some(text(&"x".repeat(255))), ""), one(&"x".repeat(255)));
    assert_eq!(
        read("cancel", Some(text(&"x".repeat(256))), ""),
        Err(Refusal::Key(KeyFault::TooLong { bytes: 256 }))
    );
    let not_utf8 = Value::LongString(vec![0xff].into());
    assert_eq!(read("cancel", Some(not_utf8), ""), Err(Refusal::Key(KeyFault::NotUtf8)));
    for json in [
        "nonsense",
        "[]",
        "[\"a\"]",
        r#"{"keys": "a"}"#,
        r#"{"keys": ["a"], "key": 1}"#,
        r#"{"keys": [1]}"#,
    ] {
        assert!(matches!(read("cancel", None, json), Err(Refusal::Json(_))), "{json}");
    }
    let many = |count| format!(r#"{{"keys": {:?}}}"#, vec!["a"; count]);
    assert!(read("cancel", None, &many(MOST_KEYS)).is_ok());
    assert_eq!(read("cancel", None, &many(10_001)), Err(Refusal::TooManyKeys(10_001)));
    assert!(matches!(read("cancel", None, &" ".repeat(3 << 20)), Err(Refusal::BodyTooLarge(_))));
    assert_eq!(read("reschedule", Some(text("a")), ""), Err(Refusal::NoDue));
    assert_eq!(read("fence", None, "x"), Err(Refusal::Fence));
    let long = "explode".repeat(30);
    assert_eq!(
        read(&long, None, ""),
        Err(Refusal::UnknownVerb(long[..LONGEST_REFUSED_VERB].into()))
    );

    let mut message = message("reschedule", Some(text("a")), "");
    message
        .properties
        .headers
        .insert("x-dormouse-due-ms".into(), Value::LongLongInt(NOW.0 as i64 + 5));
    assert_eq!(Command::read(&message), Ok(reschedule("a", 5)));
    message.properties.headers.insert("x-dormouse-due-ms".into(), Value::LongLongInt(-5));
    assert_eq!(Command::read(&message), Err(Refusal::BadDue));
    message.properties.priority = Some(0);
    assert_eq!(Command::read(&message), Err(Refusal::BadDue), "no priority is the lowest");
    message.properties.priority = Some(1);
    assert_eq!(Command::read(&message), Err(Refusal::Priority));

    assert_eq!(read("run-now", Some(text("a")), ""), Ok(run_now("a", None)));
    assert_eq!(read("run-now", None, r#"{"keys": ["a"]}"#), Ok(run_now("a", None)));
    assert_eq!(read("run-now", None, &many(2)), Err(Refusal::OneKey(2)));
    assert_eq!(read("run-now", None, ""), Err(Refusal::NoKey));
    let due = UnixMs(NOW.0 + 7);
    assert_eq!(
        Command::read(&command::run_now("c", &key("a"), Some(due))),
        Ok(run_now("a", Some(7)))
    );
    for generation in [None, Some(1 << 60)] {
        let asked = command::bring_forward("c", &key("a"), generation, due, u64::MAX);
        assert_eq!(Command::read(&asked), Ok(bring_forward("a", generation, 7, u64::MAX)));
    }
    assert_eq!(read("move", Some(text("a")), "12345678"), Err(Refusal::Move), "no due time");

    let fence = Fence { worker: u64::MAX, number: 3, horizon: NOW };
    let mut body = Vec::new();
    fence.encode(&mut body);
    let message = Message { routing_key: "fence".into(), body: body.into(), ..Message::default() };
    assert_eq!(Command::read(&message), Ok(Command::Fence(fence)));
}

#[test]
fn a_unique_schedule_needs_a_key_and_a_message_id() {
    let mut message = message("order.paid", Some(text("a")), "body");
    assert_eq!(read_unique(&message, NOW), Err(Refusal::NoMessageId));
    message.properties.message_id = Some("m-1".into());
    let Ok(Command::Unique { if_exists: IfExists::Replace, message: first, .. }) =
        read_unique(&message, NOW)
    else {
        panic!("replace is what it does")
    };
    assert_eq!(
        read_unique(&message, NOW),
        Ok(unique("a", IfExists::Replace, 0, first)),
        "the same each time"
    );
    message.properties.message_id = Some("m-2".into());
    let Ok(Command::Unique { message: second, .. }) = read_unique(&message, NOW) else { panic!() };
    assert_ne!(first, second);
    let mode = |mode| ("x-dormouse-if-exists".into(), text(mode));
    message.properties.headers.extend([mode("keep")]);
    assert!(matches!(
        read_unique(&message, NOW),
        Ok(Command::Unique { if_exists: IfExists::Keep, .. })
    ));
    message.properties.headers.extend([mode("perhaps")]);
    assert_eq!(read_unique(&message, NOW), Err(Refusal::IfExists));
    message.properties.headers.remove("x-dormouse-key");
    assert_eq!(read_unique(&message, NOW), Err(Refusal::NoKey));
}
