//! In: a request, and when it was taken. Out: what the library publishes, or why not. Pure.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use dormouse_client::{Header, Message, Scheduled, Target};
use serde_json::Value as Json;

use super::destination::Destination;
use super::problem::{Kind, Problem};
use super::request::{Delay, ScheduleRequest, moment};
use crate::config::{Config, durations};
use crate::schedule::headers::{
    CC, DELIVERY_DELAY, DELIVERY_TIME, TARGET_EXCHANGE, X_DELAY, is_ours,
};
use crate::schedule::{Authority, Layout, UnixMs};
use crate::topology::layout;
use crate::webhooks::{ENDPOINT, PATH};

/// What requests are judged by: follows from the configuration.
#[derive(Debug)]
pub struct Limits {
    layout: Layout,
    authority: Authority,
    header_exchanges: Vec<String>,
    max_delay: Duration,
    max_past: Duration,
    webhooks_queue: String,
}

/// A message that may be published.
#[derive(Debug)]
pub struct Checked {
    pub scheduled: Scheduled,
    pub is_unique: bool,
    pub key: Option<String>,
    pub due: UnixMs,
    pub hops: u32,
    /// The message's.
    pub id: String,
}

/// Header fields that say when, where or by whose word: the request has members for that.
const NOT_HEADERS: [&str; 8] =
    [X_DELAY, DELIVERY_DELAY, DELIVERY_TIME, TARGET_EXCHANGE, CC, "BCC", ENDPOINT, PATH];

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::Invalid, detail)
}

impl Limits {
    /// Errors: a pattern in targets.queues that does not compile; a checked configuration has none.
    pub fn of(config: &Config) -> Result<Self, regex::Error> {
        Ok(Self {
            layout: layout(config),
            authority: Authority::new(config)?,
            header_exchanges: config.targets.header_exchanges.clone(),
            max_delay: config.topology.max_delay,
            max_past: config.schedule.max_past,
            webhooks_queue: config.webhooks.queue.clone(),
        })
    }

    /// `whole` is what `request` was read from: a body is a part of it, and not copied. The message's id is its own, or
    /// else `id`.
    pub fn check(
        &self,
        request: ScheduleRequest<'_>,
        whole: &Bytes,
        now: UnixMs,
        id: impl FnOnce() -> String,
    ) -> Result<Checked, Problem> {
        let due = self.due(request.delay, request.at.as_deref(), now)?;
        let is_unique = is_unique(&request)?;
        let destination = Destination::of(&request.target)?;
        let target = self.target(destination, is_unique)?;
        let message = to_endpoint(destination, message(&request, whole)?);
        let id = request.message_id.unwrap_or_else(id);
        let message = message.with_id(id.clone());
        let at = jiff::Timestamp::from_millisecond(i64::try_from(due.0).unwrap_or(i64::MAX));
        let at = at.map_err(|_| invalid(format!("{due} is no time")))?;
        let scheduled = Scheduled::at(target, message, at);
        let scheduled = match (&request.key, is_unique) {
            (Some(key), true) => {
                let replaces = super::request::IfExistsRequest::Replace;
                scheduled.unique(key, request.if_exists.unwrap_or(replaces).into())
            }
            (Some(key), false) => scheduled.key(key),
            (None, _) => scheduled,
        };
        let hops = self.layout.plan(due.since(now)).hops;
        Ok(Checked { scheduled, is_unique, key: request.key, due, hops, id })
    }

    /// When it is due: one of the two.
    pub fn due(
        &self,
        delay: Option<Delay>,
        at: Option<&str>,
        now: UnixMs,
    ) -> Result<UnixMs, Problem> {
        let due = match (delay, at) {
            (Some(Delay(delay)), None) => now.plus(delay),
            (None, Some(at)) => moment(at).map_err(invalid)?,
            (Some(_), Some(_)) => return Err(invalid("there are delay and at: give one of them")),
            (None, None) => return Err(invalid("there is neither delay nor at: give one of them")),
        };
        let (delay, ago) = (due.since(now), now.since(due));
        if delay > self.max_delay {
            let (limit, value) = (durations::duration(self.max_delay), durations::duration(delay));
            let detail = format!(
                "{value} is longer than the longest delay, topology.max_delay = {limit}: such a message would go \
                 to the DLQ"
            );
            let problem = Problem::new(Kind::DelayTooLong, detail);
            let ms = |duration: Duration| duration.as_millis() as u64;
            let problem = problem.with("limit", limit).with("value", value);
            return Err(problem.with("limit_ms", ms(self.max_delay)).with("value_ms", ms(delay)));
        }
        if ago > self.max_past {
            let limit = durations::duration(self.max_past);
            let detail = format!(
                "{due} is longer ago than schedule.max_past = {limit}, as a time of another unit would be"
            );
            let problem = Problem::new(Kind::DueLongAgo, detail);
            return Err(problem.with("limit", limit).with("value", due.to_string()));
        }
        Ok(due)
    }

    /// Whether this queue is one that is delivered to, and no queue of ours.
    pub fn queue(&self, queue: &str) -> Result<(), Problem> {
        let refused =
            |why: crate::schedule::Refusal| Problem::new(Kind::TargetForbidden, why.to_string());
        self.authority.check_queue(queue).map_err(refused)
    }

    fn target(&self, destination: Destination<'_>, is_unique: bool) -> Result<Target, Problem> {
        let (exchange, routing_key) = match destination {
            Destination::Queue(queue) if queue == self.webhooks_queue => {
                let detail = format!(
                    "the queue {queue:?} is for webhooks: give the target's endpoint, and a path below it"
                );
                return Err(Problem::new(Kind::TargetForbidden, detail));
            }
            Destination::Queue(queue) => ("", queue),
            Destination::Exchange { exchange, routing_key } => (exchange, routing_key),
            Destination::Endpoint { .. } => ("", &*self.webhooks_queue),
        };
        let checked = crate::schedule::Target {
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
            cc: Vec::new(),
        };
        let refused = |why: String| Problem::new(Kind::TargetForbidden, why);
        self.authority.check(&checked).map_err(|refusal| refused(refusal.to_string()))?;
        // what is unique comes through an exchange of no target, so a header has to name it
        if is_unique
            && !exchange.is_empty()
            && !self.header_exchanges.iter().any(|open| open == exchange)
        {
            return Err(refused(format!(
                "exchange {exchange:?} is not in targets.header_exchanges, as the target of a unique schedule has to be"
            )));
        }
        Ok(Target::exchange(exchange, routing_key))
    }
}

fn is_unique(request: &ScheduleRequest<'_>) -> Result<bool, Problem> {
    let ScheduleRequest { key, unique, if_exists, .. } = request;
    if (*unique || if_exists.is_some()) && key.is_none() {
        return Err(invalid("unique and if_exists need a key, and there is none"));
    }
    if if_exists.is_some() && !unique {
        return Err(invalid("if_exists is for a unique schedule: set unique to true"));
    }
    if *unique && (request.reply_to.is_some() || request.correlation_id.is_some()) {
        return Err(invalid(
            "a unique schedule has neither reply_to nor correlation_id: the answer to it needs them",
        ));
    }
    Ok(*unique)
}

/// A message for an endpoint is one for the queue of webhooks, with headers that name the endpoint and the path.
fn to_endpoint(destination: Destination<'_>, message: Message) -> Message {
    let Destination::Endpoint { endpoint, path } = destination else { return message };
    let message = message.with_header(ENDPOINT, Header::Text(endpoint.to_owned()));
    match path {
        "" => message,
        path => message.with_header(PATH, Header::Text(path.to_owned())),
    }
}

fn message(request: &ScheduleRequest<'_>, whole: &Bytes) -> Result<Message, Problem> {
    let (body, content_type) = match (request.body, &request.body_base64) {
        (Some(_), Some(_)) => {
            return Err(invalid("there are body and body_base64: give one of them"));
        }
        (Some(body), None) => {
            shallow(body.get())?;
            (whole.slice_ref(body.get().as_bytes()), Some("application/json"))
        }
        (None, Some(text)) => {
            let bytes = BASE64_STANDARD.decode(text.as_bytes());
            let bytes = bytes.map_err(|why| invalid(format!("body_base64 is no base64: {why}")))?;
            (bytes.into(), None)
        }
        (None, None) => (Bytes::new(), None),
    };
    let mut message = Message::new(body);
    if let Some(content_type) = request.content_type.as_deref().or(content_type) {
        message = message.with_content_type(content_type);
    }
    if let Some(id) = &request.correlation_id {
        message = message.with_correlation_id(id);
    }
    if let Some(address) = &request.reply_to {
        message = message.with_reply_to(address);
    }
    if let Some(kind) = &request.r#type {
        message = message.with_kind(kind);
    }
    if let Some(priority) = request.priority {
        message = message.with_priority(priority);
    }
    if let Some(Delay(after)) = request.expires_in {
        message = message.with_expiration(after);
    }
    for (name, value) in &request.headers {
        message = message.with_header(name, header(name, value)?);
    }
    Ok(message)
}

fn header(name: &str, value: &Json) -> Result<Header, Problem> {
    if NOT_HEADERS.iter().any(|not| not.eq_ignore_ascii_case(name)) || is_ours(name) {
        return Err(invalid(format!(
            "the header {name:?} would say when or where the message goes: delay, at, target and key do, and one \
             request schedules one message for one target"
        )));
    }
    let refused = |what: &str| {
        invalid(format!(
            "the header {name:?} is {what}: a header is a text, a whole number, true or false, or a list of them"
        ))
    };
    Ok(match value {
        Json::String(text) => Header::Text(text.clone()),
        Json::Bool(value) => Header::Boolean(*value),
        Json::Number(number) => {
            Header::Integer(number.as_i64().ok_or_else(|| refused("no whole number of 64 bits"))?)
        }
        Json::Array(items) => {
            Header::List(items.iter().map(|item| header(name, item)).collect::<Result<_, _>>()?)
        }
        Json::Null => return Err(refused("null")),
        Json::Object(_) => return Err(refused("an object")),
    })
}

/// What other programs' parsers take at most.
const DEEPEST: usize = 128;

/// Errors: arrays and objects inside each other that a consumer's parser would refuse. `json` is JSON.
pub fn shallow(json: &str) -> Result<(), Problem> {
    let (mut depth, mut is_text, mut is_escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            let detail =
                format!("the body has more than {DEEPEST} arrays and objects inside each other");
            return Err(Problem::new(Kind::Malformed, detail).with("limit", DEEPEST));
        }
    }
    Ok(())
}
