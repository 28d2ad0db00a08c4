//! Checks a definition field by field. Pure.

use std::time::Duration;

use serde_json::Value as Json;

use super::{
    Definition, LARGEST_BODY_BYTES, LARGEST_HEADERS_BYTES, LONGEST_JITTER, LONGEST_NAME_BYTES,
    MisfireText, Schedule,
};
use crate::recurring::cron::Cron;
use crate::recurring::fault::Fault;
use crate::recurring::misfire::{MOST_MADE_UP_FOR, Misfire, Policy};
use crate::recurring::overlap::Overlap;
use crate::recurring::template::{PLACEHOLDERS, unknown_placeholder};
use crate::recurring::timing::{Pattern, SHORTEST_INTERVAL, Timing};
use crate::recurring::zone;
use crate::schedule::UnixMs;
use crate::schedule::headers::{
    CC, DELIVERY_DELAY, DELIVERY_TIME, ENDPOINT, ENDPOINT_PATH, RUN, SCHEDULE, TARGET_EXCHANGE,
    TICK_MS, X_DELAY, is_ours,
};
use crate::settings::durations::parse_duration;

/// Headers that would say when or where a message goes.
const NOT_HEADERS: [&str; 11] = [
    X_DELAY,
    DELIVERY_DELAY,
    DELIVERY_TIME,
    TARGET_EXCHANGE,
    CC,
    "BCC",
    ENDPOINT,
    ENDPOINT_PATH,
    SCHEDULE,
    TICK_MS,
    RUN,
];
/// What fires less often than once in this time is no interval.
const LONGEST_INTERVAL: Duration = Duration::from_secs(366 * 86_400);
/// A misfire's window and grace.
const LONGEST_WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// What was found so far.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn take<T>(&mut self, checked: Result<T, Fault>) -> Option<T> {
        checked.map_err(|fault| self.0.push(fault)).ok()
    }
}

impl Schedule {
    /// Errors: every fault that it has.
    pub fn new(definition: Definition) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        faults.take(check_name(&definition.name));
        let pattern = faults.take(pattern(&definition));
        let zone = faults.take(zone_of(&definition));
        let start = faults.take(moment("start", definition.start.as_deref()));
        let end = faults.take(moment("end", definition.end.as_deref()));
        faults.take(definition.target.check());
        let body = faults.take(body(&definition));
        faults.take(headers(&definition));
        let jitter =
            duration("jitter", definition.jitter.as_deref(), Duration::ZERO, LONGEST_JITTER);
        let jitter = faults.take(jitter.map(|jitter| jitter.unwrap_or_default()));
        let misfire = misfire(definition.misfire.as_ref(), &mut faults);
        let overlap = faults.take(overlap(&definition));
        let (
            Some(pattern),
            Some(zone),
            Some(start),
            Some(end),
            Some(body),
            Some(jitter),
            Some(overlap),
        ) = (pattern, zone, start, end, body, jitter, overlap)
        else {
            return Err(faults.0);
        };
        let timing = Timing { pattern, zone, start, end };
        faults.take(fires(&definition, &timing));
        match faults.0.is_empty() {
            true => Ok(Self { definition, timing, misfire, overlap, jitter, body }),
            false => Err(faults.0),
        }
    }
}

/// Errors: it is no name of a schedule.
pub fn check_name(name: &str) -> Result<(), Fault> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.len() {
        1..=LONGEST_NAME_BYTES if name.chars().all(is_fine) => Ok(()),
        _ => Err(Fault::new(
            "name",
            name,
            format!(
                "is no name: write 1 to {LONGEST_NAME_BYTES} letters, digits, '.', '_' and '-'"
            ),
        )),
    }
}

fn pattern(definition: &Definition) -> Result<Pattern, Fault> {
    match (definition.cron.as_deref(), definition.every.as_deref()) {
        (Some(cron), None) => {
            Cron::parse(cron).map(Pattern::Cron).map_err(|why| Fault::new("cron", cron, why))
        }
        (None, Some(every)) => {
            let read = duration("every", Some(every), SHORTEST_INTERVAL, LONGEST_INTERVAL)?;
            Ok(Pattern::Every(read.expect("given")))
        }
        (None, None) => Err(Fault::new(
            "cron",
            "",
            "is absent, and so is every: write cron = \"0 3 * * *\" or every = \"90s\"",
        )),
        (Some(cron), Some(_)) => {
            Err(Fault::new("cron", cron, "stands beside every: write one of them"))
        }
    }
}

fn zone_of(definition: &Definition) -> Result<jiff::tz::TimeZone, Fault> {
    let Some(name) = definition.zone.as_deref() else { return Ok(jiff::tz::TimeZone::UTC) };
    zone::get(name).map_err(|unknown| Fault::new("zone", name, unknown.to_string()))
}

fn moment(field: &'static str, text: Option<&str>) -> Result<Option<UnixMs>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let read: Option<jiff::Timestamp> = text.parse().ok();
    let ms = read.and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
    let right = "is not RFC 3339 with a zone: write for example \"2027-01-01T09:00:00+01:00\"";
    ms.map(|ms| Some(UnixMs(ms))).ok_or_else(|| Fault::new(field, text, right))
}

fn duration(
    field: &'static str,
    text: Option<&str>,
    least: Duration,
    most: Duration,
) -> Result<Option<Duration>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let read = parse_duration(text).map_err(|why| Fault::new(field, text, why))?;
    if read < least || read > most {
        let told = crate::settings::durations::duration;
        let right = format!("is out of range: write {} to {}", told(least), told(most));
        return Err(Fault::new(field, text, right));
    }
    if read.subsec_nanos() % 1_000_000 != 0 {
        return Err(Fault::new(field, text, "has a part of a millisecond: write whole ones"));
    }
    Ok(Some(read))
}

fn body(definition: &Definition) -> Result<String, Fault> {
    let (field, body) = match (&definition.body, &definition.body_text) {
        (Some(_), Some(text)) => {
            return Err(Fault::new("body_text", text, "stands beside body: write one of them"));
        }
        (Some(json), None) => ("body", json.to_string()),
        (None, Some(text)) => ("body_text", text.clone()),
        (None, None) => ("body", String::new()),
    };
    if body.len() > LARGEST_BODY_BYTES {
        let told = format!("{} bytes", body.len());
        let right = format!("are too many: write {LARGEST_BODY_BYTES} at most, or a link to more");
        return Err(Fault::new(field, told, right));
    }
    template(field, &body)?;
    Ok(body)
}

fn template(field: &'static str, text: &str) -> Result<(), Fault> {
    match unknown_placeholder(text) {
        None => Ok(()),
        Some(name) => {
            let right = format!("is no placeholder: write one of {}", PLACEHOLDERS.join(", "));
            Err(Fault::new(field, format!("{{{{{name}}}}}"), right))
        }
    }
}

fn headers(definition: &Definition) -> Result<(), Fault> {
    let mut bytes = 0;
    for (name, value) in &definition.headers {
        if NOT_HEADERS.iter().any(|not| not.eq_ignore_ascii_case(name)) || is_ours(name) {
            let right =
                "would say when or where the message goes, or is Dormouse's: write another name";
            return Err(Fault::new("headers", name, right));
        }
        if name.is_empty() || name.len() > 255 {
            return Err(Fault::new("headers", name, "has no name that AMQP takes: 1 to 255 bytes"));
        }
        match value {
            Json::String(text) => template("headers", text)?,
            Json::Bool(_) => {}
            Json::Number(number) if number.is_i64() => {}
            other => {
                let right = format!("of {name:?} is no text, whole number, true or false");
                return Err(Fault::new("headers", other.to_string(), right));
            }
        }
        bytes += name.len() + value.to_string().len();
    }
    if bytes > LARGEST_HEADERS_BYTES {
        let right = format!("are too many: write {LARGEST_HEADERS_BYTES} at most");
        return Err(Fault::new("headers", format!("{bytes} bytes"), right));
    }
    if let Some(kind) = definition.content_type.as_ref().filter(|kind| kind.len() > 255) {
        return Err(Fault::new("content_type", kind, "is longer than AMQP takes: 255 bytes"));
    }
    Ok(())
}

fn misfire(text: Option<&MisfireText>, faults: &mut Faults) -> Misfire {
    let mut misfire = Misfire::default();
    let Some(text) = text else { return misfire };
    let least = Duration::from_secs(1);
    let grace = duration("misfire.grace", text.grace.as_deref(), least, LONGEST_WINDOW);
    let window = duration("misfire.window", text.window.as_deref(), least, LONGEST_WINDOW);
    if let Some(grace) = faults.take(grace).flatten() {
        misfire.grace = grace;
    }
    if let Some(window) = faults.take(window).flatten() {
        misfire.window = window;
    }
    if let Some(word) = &text.fire {
        match Policy::ALL.into_iter().find(|policy| policy.as_str() == word) {
            Some(policy) => misfire.policy = policy,
            None => {
                faults.0.push(Fault::new("misfire.fire", word, "is none of once, skip and all"));
            }
        }
    }
    match text.at_most {
        None => {}
        Some(most @ 1..=MOST_MADE_UP_FOR) => misfire.at_most = most,
        Some(most) => {
            let right = format!("is out of range: write 1 to {MOST_MADE_UP_FOR}");
            faults.0.push(Fault::new("misfire.at_most", most.to_string(), right));
        }
    }
    misfire
}

fn overlap(definition: &Definition) -> Result<Overlap, Fault> {
    let given = definition.overlap_timeout.as_deref();
    let least = Duration::from_secs(1);
    let timeout = duration("overlap_timeout", given, least, LONGEST_WINDOW)?;
    match (definition.overlap.as_deref(), timeout) {
        (None | Some("allow"), None) => Ok(Overlap::Allow),
        (None | Some("allow"), Some(_)) => Err(Fault::new(
            "overlap_timeout",
            given.unwrap_or_default(),
            "is for overlap = \"skip\" or \"buffer_one\": write one of them, or leave it out",
        )),
        (Some("skip"), Some(timeout)) => Ok(Overlap::Skip(timeout)),
        (Some("buffer_one"), Some(timeout)) => Ok(Overlap::BufferOne(timeout)),
        (Some(word @ ("skip" | "buffer_one")), None) => Err(Fault::new(
            "overlap",
            word,
            "needs an overlap_timeout: RabbitMQ does not tell when a run is over, so a consumer says it with \
             schedule.done, and write how long one takes at most, for when none says so",
        )),
        (Some(word), _) => {
            Err(Fault::new("overlap", word, "is none of allow, skip and buffer_one"))
        }
    }
}

/// Errors: there is no tick between start and end.
fn fires(definition: &Definition, timing: &Timing) -> Result<(), Fault> {
    if let (Some(start), Some(end)) = (timing.start, timing.end)
        && end < start
    {
        let end = definition.end.as_deref().unwrap_or_default();
        return Err(Fault::new("end", end, "is before start: write a later one"));
    }
    let first =
        timing.next(timing.start.map_or(UnixMs(0), |start| UnixMs(start.0.saturating_sub(1))));
    match (first, &definition.end) {
        (Some(_), _) => Ok(()),
        (None, Some(end)) => Err(Fault::new(
            "end",
            end,
            "leaves no tick: the first would be later; write a later one",
        )),
        (None, None) => {
            let cron = definition.cron.as_deref().unwrap_or_default();
            Err(Fault::new("cron", cron, "never fires after start"))
        }
    }
}
