//! What a request may say: the JSON of a message to schedule, and the answer to it. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use dormouse_client::IfExists;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::config::durations::parse_duration;
use crate::schedule::UnixMs;

/// A message, where it goes and when.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Message, example = json!({
    "target": { "queue": "mail" }, "delay": "2h", "body": { "order": 7 }, "key": "order-7"
}))]
pub struct ScheduleRequest<'a> {
    /// Where it is delivered when it is due.
    pub target: TargetRequest,
    /// In how long it is due, counted from when this request is taken: `"2h"`, `"90s"`, `"1500ms"`, or a number of
    /// milliseconds. Either this or `at`.
    #[schema(value_type = Option<DelayText>)]
    pub delay: Option<Delay>,
    /// When it is due: RFC 3339 with a zone, `"2027-01-01T09:00:00+01:00"`.
    #[schema(example = "2027-01-01T09:00:00+01:00", format = DateTime)]
    pub at: Option<Cow<'a, str>>,
    /// What arrives, as `application/json`: the text as it stands here.
    #[serde(borrow, default, deserialize_with = "as_it_stands")]
    #[schema(value_type = serde_json::Value)]
    pub body: Option<&'a RawValue>,
    /// What arrives, in place of `body`: any bytes, in base64.
    #[schema(format = Byte)]
    pub body_base64: Option<Cow<'a, str>>,
    /// By what it can be cancelled or put off: 1 to 255 bytes.
    #[schema(example = "order-7", min_length = 1, max_length = 255)]
    pub key: Option<String>,
    /// At most one with this key is to come. Needs `key`.
    #[serde(default)]
    pub unique: bool,
    /// What becomes of a unique one if there is one already: it takes its place (`replace`, if this is absent), or does not
    /// come (`keep`).
    pub if_exists: Option<IfExistsRequest>,
    /// The property `message_id`, by which a consumer tells duplicates. One is made if there is none.
    pub message_id: Option<String>,
    /// Headers: texts, whole numbers, booleans, and lists of them.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub headers: BTreeMap<String, Json>,
    /// How long it may wait in the target queue, as `delay` says durations.
    #[schema(value_type = Option<DelayText>)]
    pub expires_in: Option<Delay>,
    /// The property; `application/json` for a `body`.
    pub content_type: Option<String>,
    /// The property.
    pub correlation_id: Option<String>,
    /// The property.
    pub reply_to: Option<String>,
    /// The property.
    pub r#type: Option<String>,
    /// In the target queue.
    pub priority: Option<u8>,
}

/// A queue, or an exchange and a routing key, or an endpoint of webhooks.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Target)]
pub struct TargetRequest {
    /// Through RabbitMQ's default exchange.
    #[schema(example = "mail")]
    pub queue: Option<String>,
    /// One that the service's configuration opens.
    pub exchange: Option<String>,
    /// For the exchange; empty if it is absent.
    pub routing_key: Option<String>,
    /// Of `webhooks.file`: it is sent there, by the role webhooks.
    pub endpoint: Option<String>,
    /// Below the endpoint's address, with a query if there is one.
    #[schema(example = "/orders/7")]
    pub path: Option<String>,
}

/// What becomes of a unique schedule whose key is taken.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = IfExists)]
pub enum IfExistsRequest {
    /// It takes the other's place.
    Replace,
    /// It does not come itself.
    Keep,
}

/// A new time for what was scheduled with a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTime, example = json!({ "delay": "3h" }))]
pub struct NewTimeRequest {
    /// In how long it is due. Either this or `at`.
    #[schema(value_type = Option<DelayText>)]
    pub delay: Option<Delay>,
    /// When it is due: RFC 3339 with a zone.
    #[schema(format = DateTime)]
    pub at: Option<String>,
    /// Look for it, to bring it forward, also if it is not known when it is due: that of a plain schedule is not.
    #[serde(default)]
    pub forward: bool,
}

/// Keys to cancel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Cancellations, example = json!({ "keys": ["order-7", "order-8"] }))]
pub struct CancellationsRequest {
    /// 1 to 1,000.
    #[schema(min_items = 1, max_items = 1_000)]
    pub keys: Vec<String>,
    /// None of them is due later: RFC 3339 with a zone. They are then remembered for a shorter time.
    #[schema(format = DateTime)]
    pub due_by: Option<String>,
}

/// A message that RabbitMQ has confirmed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Scheduled {
    /// The property `message_id`.
    #[schema(example = "0199c2a4-7b1e-7e3c-9d1c-0a5f7d8e9f00")]
    pub id: String,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// RFC 3339 in UTC, with milliseconds.
    #[schema(example = "2026-11-28T07:12:00.000Z", format = DateTime)]
    pub due_at: String,
    /// The same in milliseconds since the epoch.
    pub due_ms: u64,
    /// Level queues on its way.
    pub hops: u32,
    /// Of a unique one: `scheduled`, `replaced` or `kept`; `unanswered` if nobody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A duration: `"2h"`, or milliseconds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum DelayText {
    /// `"2h30m"`, `"90s"`, `"1500ms"`.
    Text(String),
    /// Milliseconds.
    Milliseconds(u64),
}

/// In whole milliseconds, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay(pub Duration);

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Delay;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"2h\", or a whole number of milliseconds")
            }

            fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Delay, E> {
                Ok(Delay(Duration::from_millis(ms)))
            }

            fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Delay, E> {
                let ms = u64::try_from(ms);
                let ms = ms.map_err(|_| E::custom("the delay is negative; it starts at 0"))?;
                Ok(Delay(Duration::from_millis(ms)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Delay, E> {
                delay(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// As in a request or a query.
pub fn delay(text: &str) -> Result<Delay, String> {
    let read = match text.parse::<u64>() {
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => parse_duration(text),
    };
    let read = read.map_err(|problem| format!("the duration {text:?} {problem}"))?;
    let ms = u64::try_from(read.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Ok(Delay(Duration::from_millis(ms)))
}

/// A moment with its zone, in whole milliseconds, rounded up: never early.
pub fn moment(text: &str) -> Result<UnixMs, String> {
    let read: Result<jiff::Timestamp, _> = text.parse();
    let moment = read.map_err(|_| {
        format!(
            "the time {text:?} is not RFC 3339 with a zone, such as \"2027-01-01T09:00:00+01:00\" or \
             \"2027-01-01T08:00:00Z\""
        )
    })?;
    let ms = moment.as_nanosecond().div_euclid(1_000_000)
        + i128::from(moment.as_nanosecond().rem_euclid(1_000_000) > 0);
    Ok(UnixMs(u64::try_from(ms).unwrap_or(0)))
}

/// `null` is a body, too.
fn as_it_stands<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

impl From<IfExistsRequest> for IfExists {
    fn from(asked: IfExistsRequest) -> Self {
        match asked {
            IfExistsRequest::Replace => IfExists::Replace,
            IfExistsRequest::Keep => IfExists::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_has_a_unit_or_is_milliseconds_and_is_never_shortened() {
        let ms = |text: &str| serde_json::from_str::<Delay>(text).map(|delay| delay.0.as_millis());
        assert_eq!(ms("1500").unwrap(), 1_500);
        assert_eq!(ms("\"2h\"").unwrap(), 7_200_000);
        assert_eq!(ms("\"1us\"").unwrap(), 1);
        for wrong in ["-1", "1.5", "\"\"", "\"5 fortnights\"", "\"1mo\"", "null", "[]", "\"-3s\""] {
            assert!(ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_has_a_zone_and_is_never_early() {
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(UnixMs(1_000)));
        assert_eq!(moment("1970-01-01T01:00:00.0000001+00:00"), Ok(UnixMs(3_600_001)));
        assert_eq!(moment("1970-01-01T01:00:00+01:00"), Ok(UnixMs(0)));
        for wrong in ["", "2027-01-01T09:00:00", "2027-01-01", "tomorrow", "1795849920000"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
