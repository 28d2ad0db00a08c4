//! Laws of what judges webhooks: it passes what docs/webhooks.md promises, and finds each difference from it. Pure.

use dormouse::message::{Headers, Message, Properties, text};
use dormouse::schedule::UnixMs;
use dormouse::webhooks::{Secret, signatures};
use dormouse_lab::drill::posted::{PATH, SECRET, signature, violations};
use proptest::prelude::*;

const SECONDS: u64 = 1_795_849_920;
const AT_MS: u64 = SECONDS * 1_000 + 300;

/// What is published for an endpoint, and how it has to come.
fn both(id: &str, body: &[u8]) -> (Message, Message) {
    let path = "/orders/7?x=1";
    let published = Message {
        exchange: "dormouse.delay".into(),
        routing_key: "dormouse-webhooks".into(),
        properties: Properties {
            message_id: Some(id.into()),
            content_type: Some("text/plain".into()),
            headers: Headers::from([("dormouse-path".into(), text(path))]),
            ..Properties::default()
        },
        body: body.to_vec().into(),
    };
    let seconds = SECONDS.to_string();
    let headers = [
        ("content-type", "text/plain"),
        ("webhook-id", id),
        ("webhook-timestamp", &seconds),
        ("webhook-signature", &signature(id, &seconds, body)),
        ("dormouse-attempt", "1"),
    ];
    let came = Message {
        routing_key: format!("{PATH}{path}"),
        properties: Properties {
            headers: headers.map(|(name, value)| (name.into(), text(value))).into(),
            ..Properties::default()
        },
        body: body.to_vec().into(),
        ..Message::default()
    };
    (published, came)
}

proptest! {
    /// Two who do not share a line of code sign alike.
    #[test]
    fn the_drill_and_the_dispatcher_sign_alike(
        id in "[a-z0-9-]{1,20}", seconds in 0..u64::from(u32::MAX), body in any::<Vec<u8>>()
    ) {
        let secret = Secret::parse(SECRET, Some(UnixMs(u64::MAX))).unwrap();
        let ours = signatures(&[secret], &id, seconds, &body);
        prop_assert_eq!(ours, signature(&id, &seconds.to_string(), &body));
    }

    #[test]
    fn a_right_webhook_is_clean(id in "[a-z0-9-]{1,20}", body in any::<Vec<u8>>()) {
        let (published, came) = both(&id, &body);
        prop_assert_eq!(violations(&published, &came, AT_MS), Vec::<String>::new());
    }
}

/// The specification's own example.
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
#[test]
fn a_known_signature_comes_out() {
    let body = br#"{"test": 2432232314}"#;
    let signed = signature("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn every_change_of_a_webhook_is_found() {
    let (published, right) = both("order-7", b"{}");
    let with = |name: &str, value: &str| {
        let mut came = right.clone();
        came.properties.headers.insert(name.into(), text(value));
        violations(&published, &came, AT_MS)
    };
    for (name, value) in [
        ("content-type", "text/html"),
        ("webhook-id", "order-8"),
        ("webhook-signature", ""),
        ("dormouse-attempt", "0"),
        ("dormouse-attempt", ""),
    ] {
        assert_eq!(with(name, value).len(), 1, "{name}: {value}");
    }
    let body = Message { body: (&b"{ }"[..]).into(), ..right.clone() };
    assert_eq!(violations(&published, &body, AT_MS).len(), 2, "and so it is not what was signed");
    let path = Message { routing_key: PATH.into(), ..right.clone() };
    assert_eq!(violations(&published, &path, AT_MS).len(), 1);
    assert_eq!(violations(&published, &right, AT_MS + 60_000).len(), 1, "signed long ago");
}
