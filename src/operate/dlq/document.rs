//! A message of the DLQ as programs get it, and what a client said of it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value as Json, json};

use super::{Entry, fields};
use crate::message::{Headers, Properties};
use crate::schedule::DelayedMessage;

impl Entry {
    /// The basic properties as the client set them, those set aside included.
    pub fn properties(&self) -> Vec<(&'static str, String)> {
        let mut properties = self.message.properties.clone();
        if let Some(delayed) = &self.delayed {
            let aside = delayed.stamp.set_aside.clone();
            properties = Properties {
                expiration: aside.expiration,
                priority: aside.priority,
                delivery_mode: aside.delivery_mode,
                user_id: aside.user_id,
                reply_to: aside.reply_to.or(properties.reply_to),
                ..properties
            };
        }
        let text = |value: &Option<crate::message::ShortString>| {
            value.as_ref().map(|value| value.to_string())
        };
        let mode = |mode| match mode {
            1 => "1 (transient)".to_owned(),
            2 => "2 (persistent)".to_owned(),
            other => other.to_string(),
        };
        let named = [
            ("content type", text(&properties.content_type)),
            ("content encoding", text(&properties.content_encoding)),
            ("delivery mode", properties.delivery_mode.map(mode)),
            ("priority", properties.priority.map(|priority| priority.to_string())),
            ("correlation id", text(&properties.correlation_id)),
            ("reply to", text(&properties.reply_to)),
            (
                "expiration",
                text(&properties.expiration).map(|expiration| format!("{expiration} ms")),
            ),
            ("message id", text(&properties.message_id)),
            ("timestamp", properties.timestamp.map(fields::timestamp)),
            ("type", text(&properties.kind)),
            ("user id", text(&properties.user_id)),
            ("app id", text(&properties.app_id)),
            ("cluster id", text(&properties.cluster_id)),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// As the client set them; of a message that is not ours all of them.
    pub fn headers(&self) -> &Headers {
        self.delayed.as_ref().map_or(&self.message.properties.headers, DelayedMessage::headers)
    }

    /// Further routing keys, as the client set them.
    pub fn cc(&self) -> Vec<String> {
        let keys = self.delayed.iter().flat_map(|delayed| &delayed.stamp.target.cc);
        keys.map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned()).collect()
    }

    /// As programs get it.
    pub fn document(&self) -> Json {
        let mut document = summary(self);
        let delayed = self.delayed.as_ref();
        let body = &self.message.body;
        let (text, base64) = match std::str::from_utf8(body) {
            Ok(text) => (Some(text), None),
            Err(_) => (None, Some(BASE64_STANDARD.encode(body))),
        };
        let properties: serde_json::Map<_, _> = self
            .properties()
            .into_iter()
            .map(|(name, value)| (name.replace(' ', "_"), json!(value)))
            .collect();
        let more = json!({
            "cc": self.cc(),
            "due": delayed.map(|delayed| delayed.stamp.due.to_string()),
            "left_out_headers": self.dropped,
            "properties": properties,
            "headers": fields::document(self.headers()),
            "body_bytes": body.len(),
            "body_text": text,
            "body_base64": base64,
        });
        if let (Json::Object(document), Json::Object(more)) = (&mut document, more) {
            document.extend(more);
        }
        document
    }
}

/// What a list tells a program of each message.
pub(super) fn summary(entry: &Entry) -> Json {
    let failure = entry.failure();
    json!({
        "id": entry.id,
        "reason": entry.reason().map(|reason| reason.as_str()),
        "detail": failure.map(|failure| &failure.detail),
        "attempts": entry.attempts(),
        "queue": entry.queue(),
        "retries": entry.retry_state().map(|retry_state| retry_state.retries),
        "history": entry.retry_state().map(|retry_state| {
            retry_state.history().iter().map(ToString::to_string).collect::<Vec<_>>()
        }),
        "first_failure": failure.map(|failure| failure.first.to_string()),
        "last_failure": failure.map(|failure| failure.last.to_string()),
        "exchange": entry.exchange(),
        "routing_key": entry.routing_key(),
    })
}
