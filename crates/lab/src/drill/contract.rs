//! In: what was published and what arrived. Out: every difference that the README's table of kept,
//! restored, changed, added, stripped and lost does not promise. Pure, and written from that table
//! alone: nothing here shares code with what delivers.

use dormouse_core::message::{Headers, Message, Properties, Value, as_integer, as_text};

/// Sentences such as `header "trace": "a" became "b"`; none if it is as promised.
pub fn violations(published: &Message, arrived: &Message) -> Vec<String> {
    let mut found = Differences::default();
    if published.body != arrived.body {
        let (before, after) = (published.body.len(), arrived.body.len());
        found.0.push(format!("body: {before} bytes became {after} other bytes"));
    }
    if published.routing_key != arrived.routing_key {
        found.differ("routing key", &published.routing_key, &arrived.routing_key);
    }
    properties(&published.properties, &arrived.properties, &mut found);
    headers(&published.properties, &arrived.properties.headers, &mut found);
    found.0
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, before: &T, after: &T) {
        if before != after {
            self.differ(what, before, after);
        }
    }

    fn differ(&mut self, what: &str, before: &dyn std::fmt::Debug, after: &dyn std::fmt::Debug) {
        self.0.push(format!("{what}: {before:?} became {after:?}"));
    }
}

fn properties(before: &Properties, after: &Properties, found: &mut Differences) {
    found.same("content_type", &before.content_type, &after.content_type);
    found.same("content_encoding", &before.content_encoding, &after.content_encoding);
    found.same("delivery_mode", &before.delivery_mode, &after.delivery_mode);
    found.same("priority", &before.priority, &after.priority);
    found.same("correlation_id", &before.correlation_id, &after.correlation_id);
    found.same("reply_to", &before.reply_to, &after.reply_to);
    found.same("expiration", &before.expiration, &after.expiration);
    found.same("message_id", &before.message_id, &after.message_id);
    found.same("timestamp", &before.timestamp, &after.timestamp);
    found.same("type", &before.kind, &after.kind);
    found.same("app_id", &before.app_id, &after.app_id);
    found.same("cluster_id", &before.cluster_id, &after.cluster_id);
    found.same("user_id", &None, &after.user_id);
}

fn headers(before: &Properties, after: &Headers, found: &mut Differences) {
    for (name, value) in &before.headers {
        let name = name.as_str();
        let arrived = after.get(name);
        match name {
            "x-delay" => {
                let negated = delay_ms(value).map(|delay| Value::LongLongInt(-delay));
                found.same("header \"x-delay\"", &negated.as_ref(), &arrived);
            }
            _ if is_stripped(name) || is_added(name) => {}
            _ => found.same(&format!("header {name:?}"), &Some(value), &arrived),
        }
    }
    for (name, value) in after {
        let name = name.as_str();
        let known = before.headers.contains_key(name) && !is_stripped(name);
        if !known && !is_added(name) && !is_of_target_queue(name) {
            found.0.push(format!("header {name:?}: {value:?} is new"));
        }
    }
    added(before, after, found);
}

/// The headers that the table promises to add, and no client can forge.
fn added(before: &Properties, after: &Headers, found: &mut Differences) {
    if after.get("x-dormouse-id").and_then(as_text).is_none_or(str::is_empty) {
        found.0.push("header \"x-dormouse-id\" is missing".into());
    }
    if after.get("x-dormouse-due-ms").and_then(as_integer).is_none_or(|due_ms| due_ms <= 0) {
        found.0.push("header \"x-dormouse-due-ms\" is missing".into());
    }
    if !after
        .get("x-dormouse-attempt")
        .and_then(as_integer)
        .is_some_and(|attempt| (1..99).contains(&attempt))
    {
        found.0.push("header \"x-dormouse-attempt\" is missing, or a client's".into());
    }
    let user = after.get("x-dormouse-user-id").and_then(as_text);
    found.same(
        "header \"x-dormouse-user-id\"",
        &before.user_id.as_ref().map(|user| user.as_str()),
        &user,
    );
}

fn is_added(name: &str) -> bool {
    matches!(
        name,
        "x-dormouse-id" | "x-dormouse-due-ms" | "x-dormouse-attempt" | "x-dormouse-user-id"
    )
}

/// The target's own quorum queue counts how often it delivered.
fn is_of_target_queue(name: &str) -> bool {
    matches!(name, "x-delivery-count" | "x-acquired-count")
}

fn is_stripped(name: &str) -> bool {
    matches!(name, "x-death" | "x-delivery-count" | "x-acquired-count" | "BCC")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
        || (name.starts_with("x-dormouse-") && !is_added(name))
}

/// The milliseconds that an `x-delay` header of any type asks for.
fn delay_ms(value: &Value) -> Option<i64> {
    match value {
        Value::Double(ms) => Some(ms.trunc() as i64),
        Value::Float(ms) => Some(ms.trunc() as i64),
        value => as_integer(value).or_else(|| as_text(value)?.parse().ok()),
    }
}
