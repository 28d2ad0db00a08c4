//! In: what was published for an endpoint, and the request that came there. Out: every difference that docs/webhooks.md
//! does not promise. Pure, and written from that page and the specification of Standard Webhooks alone: nothing here
//! shares code with what signs and sends.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dormouse_core::message::{Message, as_text};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What the endpoints of a drill share with the dispatcher.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Of every endpoint's address.
pub const PATH: &str = "/hooks";

/// A request is signed when it is sent.
const FRESH_MS: u64 = 5_000;

/// Sentences; none if it is as promised. The path is the routing key of `came`, and its headers are those of HTTP, in
/// small letters.
pub fn violations(published: &Message, came: &Message, at_ms: u64) -> Vec<String> {
    let header = |name: &str| came.properties.headers.get(name).and_then(as_text).unwrap_or("");
    let asked = |name: &str| published.properties.headers.get(name).and_then(as_text).unwrap_or("");
    let mut found = Vec::new();
    let mut expect = |met: bool, what: String| {
        if !met {
            found.push(what);
        }
    };
    let (before, after) = (published.body.len(), came.body.len());
    expect(published.body == came.body, format!("body: {before} bytes became {after} other bytes"));
    let path = format!("{PATH}{}", asked("dormouse-path"));
    expect(came.routing_key == path, format!("path: {path:?} became {:?}", came.routing_key));
    let content_type = published.properties.content_type.as_ref();
    let content_type = content_type.map_or("application/octet-stream", |asked| asked.as_str());
    let told = header("content-type");
    expect(told == content_type, format!("content type: {content_type:?} became {told:?}"));
    let (id, seconds) = (header("webhook-id"), header("webhook-timestamp"));
    let signed_ms = seconds.parse::<u64>().unwrap_or_default() * 1_000;
    let is_fresh = at_ms.abs_diff(signed_ms) < FRESH_MS;
    expect(is_fresh, format!("webhook-timestamp: {seconds:?}, and it came at {at_ms} ms"));
    let told = header("webhook-signature");
    let signature = signature(id, seconds, &came.body);
    expect(told == signature, format!("webhook-signature: {told:?} is not {signature:?}"));
    let attempt = header("dormouse-attempt");
    let counted = attempt.parse::<u32>().is_ok_and(|attempt| attempt > 0);
    expect(counted, format!("dormouse-attempt: {attempt:?}"));
    found
}

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#symmetric>
pub fn signature(id: &str, seconds: &str, body: &[u8]) -> String {
    let secret = SECRET.trim_start_matches("whsec_");
    let secret = BASE64_STANDARD.decode(secret).expect("the drill's own secret is base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("HMAC takes any length");
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}
