//! What a recurring schedule may say, which of its ticks are made real when, and what its messages carry.

use std::collections::BTreeSet;
use std::time::Duration;

use dormouse_core::message::{Value, as_text};
use dormouse_core::recurring::definition::Definition;
use dormouse_core::recurring::message::{Ways, message};
use dormouse_core::recurring::misfire::{AHEAD, Ahead, MOST_TOGETHER, due};
use dormouse_core::recurring::words::words;
use dormouse_core::recurring::{Fault, Misfire, Policy, Schedule};
use dormouse_core::schedule::UnixMs;
use serde_json::{Value as Json, json};

const DAY: Duration = Duration::from_secs(86_400);

fn minimal() -> Json {
    json!({ "name": "report", "cron": "0 3 * * *", "target": { "queue": "reports" } })
}

/// Some fields of the minimal one, changed; null takes one away.
fn changed(fields: Json) -> Result<Schedule, Vec<Fault>> {
    let mut definition = minimal();
    for (name, value) in fields.as_object().unwrap() {
        match value {
            Json::Null => drop(definition.as_object_mut().unwrap().remove(name)),
            value => definition[name] = value.clone(),
        }
    }
    Schedule::new(serde_json::from_value::<Definition>(definition).unwrap())
}

fn schedule(fields: Json) -> Schedule {
    changed(fields).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn at(text: &str) -> UnixMs {
    let moment: jiff::Timestamp = text.parse().unwrap();
    UnixMs(moment.as_millisecond() as u64)
}

#[test]
fn what_cannot_be_is_refused_with_field_value_and_what_would_be_right() {
    let long = "x".repeat(65_537);
    for (fields, says) in [
        (json!({ "name": "a/b" }), "name \"a/b\" is no name: write 1 to 100 letters, digits"),
        (json!({ "name": "" }), "name \"\" is no name"),
        (json!({ "name": "x".repeat(101) }), "is no name"),
        (
            json!({ "cron": "0 25 * * *" }),
            "cron \"0 25 * * *\" has the hour \"25\", which cannot be: write 0 to 23",
        ),
        (json!({ "cron": "0 0 30 2 *" }), "cron \"0 0 30 2 *\" never fires"),
        (json!({ "every": "90s" }), "cron \"0 3 * * *\" stands beside every: write one of them"),
        (json!({ "cron": null }), "cron \"\" is absent, and so is every"),
        (json!({ "cron": null, "every": "90" }), "every \"90\" has no unit"),
        (
            json!({ "cron": null, "every": "500ms" }),
            "every \"500ms\" is out of range: write 1s to 366d",
        ),
        (
            json!({ "zone": "Mars/Olympus" }),
            "zone \"Mars/Olympus\" is no zone of the IANA database",
        ),
        (json!({ "zone": "europe/berlin" }), "zone \"europe/berlin\" is no zone"),
        (json!({ "zone": "CEST" }), "zone \"CEST\" is no zone"),
        (json!({ "target": {} }), "target \"\" must name one of queue, exchange and endpoint"),
        (json!({ "target": { "queue": "a", "endpoint": "b" } }), "must name one of"),
        (
            json!({ "target": { "queue": "a", "routing_key": "b" } }),
            "has a routing_key, which is for an exchange",
        ),
        (
            json!({ "target": { "endpoint": "a", "path": "b" } }),
            "has a path that does not begin with /",
        ),
        (
            json!({ "body_text": long }),
            "body_text \"65537 bytes\" are too many: write 65536 at most",
        ),
        (json!({ "body": 1, "body_text": "1" }), "body_text \"1\" stands beside body"),
        (
            json!({ "body": { "day": "{{day}}" } }),
            "body \"{{day}}\" is no placeholder: write one of schedule, tick",
        ),
        (json!({ "headers": { "x-delay": 1 } }), "headers \"x-delay\" would say when or where"),
        (json!({ "headers": { "x-dormouse-key": "k" } }), "headers \"x-dormouse-key\" would say"),
        (
            json!({ "headers": { "a": [1] } }),
            "headers \"[1]\" of \"a\" is no text, whole number, true or false",
        ),
        (json!({ "headers": { "a": "{{now}}" } }), "headers \"{{now}}\" is no placeholder"),
        (json!({ "jitter": "2d" }), "jitter \"2d\" is out of range: write 0s to 1d"),
        (json!({ "start": "2027-01-01" }), "start \"2027-01-01\" is not RFC 3339 with a zone"),
        (json!({ "end": "soon" }), "end \"soon\" is not RFC 3339"),
        (
            json!({ "start": "2027-01-02T00:00:00Z", "end": "2027-01-01T00:00:00Z" }),
            "end \"2027-01-01T00:00:00Z\" is before start",
        ),
        (
            json!({ "start": "2027-01-01T04:00:00Z", "end": "2027-01-01T05:00:00Z" }),
            "leaves no tick: the first would be later",
        ),
        (
            json!({ "misfire": { "fire": "twice" } }),
            "misfire.fire \"twice\" is none of once, skip and all",
        ),
        (json!({ "misfire": { "grace": "0s" } }), "misfire.grace \"0s\" is out of range"),
        (json!({ "misfire": { "window": "1y" } }), "misfire.window \"1y\" is out of range"),
        (
            json!({ "misfire": { "at_most": 0 } }),
            "misfire.at_most \"0\" is out of range: write 1 to 1000",
        ),
        (json!({ "overlap": "skip" }), "overlap \"skip\" needs an overlap_timeout"),
        (json!({ "overlap": "buffer_one" }), "overlap \"buffer_one\" needs an overlap_timeout"),
        (
            json!({ "overlap": "buffer one", "overlap_timeout": "1m" }),
            "overlap \"buffer one\" is none of allow, skip and buffer_one",
        ),
        (
            json!({ "overlap_timeout": "1m" }),
            "overlap_timeout \"1m\" is for overlap = \"skip\" or \"buffer_one\"",
        ),
        (
            json!({ "overlap": "skip", "overlap_timeout": "0s" }),
            "overlap_timeout \"0s\" is out of range: write 1s to 30d",
        ),
        (json!({ "overlap": "never" }), "overlap \"never\" is none of allow, skip"),
    ] {
        let faults = changed(fields.clone()).err().unwrap_or_else(|| panic!("{fields}"));
        assert_eq!(faults.len(), 1, "{fields}: {faults:?}");
        let told = faults[0].to_string();
        assert!(told.contains(says), "{fields}: {told}");
    }
    let all = changed(json!({ "name": "a/b", "zone": "Mars", "overlap": "skip", "jitter": "x" }));
    assert_eq!(all.unwrap_err().len(), 4, "every fault is told at once");
    let unknown = serde_json::from_value::<Definition>(json!({ "name": "a", "crn": "* * * * *" }));
    assert!(unknown.unwrap_err().to_string().contains("unknown field `crn`"));
}

#[test]
fn a_definition_is_read_back_as_it_was_written() {
    let fields = json!({
        "zone": "Europe/Berlin", "body": { "run": "{{run}}" }, "headers": { "a": true, "b": 7, "c": "x" },
        "jitter": "30s", "start": "2027-01-01T00:00:00Z", "misfire": { "fire": "all", "at_most": 3 },
        "overlap": "allow",
    });
    let written = schedule(fields).definition;
    let json = serde_json::to_string(&written).unwrap();
    assert_eq!(serde_json::from_str::<Definition>(&json).unwrap(), written);
}

#[test]
fn a_message_says_which_run_it_is_and_is_the_same_each_time() {
    let schedule = schedule(json!({
        "zone": "Europe/Berlin",
        "body": { "for": "{{ date }}", "text": "{{schedule}} no. {{run}} at {{tick}}" },
        "headers": { "ms": "{{tick_ms}}", "count": 3, "is": true, "open": "{{run" },
        "target": { "exchange": "jobs", "routing_key": "nightly" },
    }));
    let tick = at("2026-10-25T02:00:00Z");
    let ways = Ways { unique: "dormouse.unique", webhooks: "webhooks" };
    let fired = message(&schedule, tick, tick, 17, ways);
    let body = r#"{"for":"2026-10-25","text":"report no. 17 at 2026-10-25T03:00:00+01:00"}"#;
    assert_eq!(std::str::from_utf8(&fired.body).unwrap(), body);
    let header = |name: &str| fired.properties.headers.get(name);
    let text = |name| header(name).and_then(as_text).map(str::to_owned);
    let key = "cron/report/1792893600000";
    assert_eq!(fired.properties.message_id.as_ref().unwrap().as_str(), key);
    assert_eq!(text("x-dormouse-key").as_deref(), Some(key));
    assert_eq!(text("x-target-exchange").as_deref(), Some("jobs"));
    assert_eq!(text("dormouse-schedule").as_deref(), Some("report"));
    assert_eq!(text("ms").as_deref(), Some("1792893600000"));
    assert_eq!(text("open").as_deref(), Some("{{run"));
    assert_eq!(header("dormouse-run"), Some(&Value::LongLongInt(17)));
    assert_eq!(header("dormouse-tick-ms"), Some(&Value::LongLongInt(1_792_893_600_000)));
    assert_eq!(header("is"), Some(&Value::Boolean(true)));
    assert_eq!(fired.properties.content_type.as_ref().unwrap().as_str(), "application/json");
    assert_eq!((&*fired.exchange, &*fired.routing_key), ("dormouse.unique", "nightly"));
    assert_eq!(message(&schedule, tick, tick, 17, ways), fired);
}

#[test]
fn jitter_spreads_ticks_always_by_the_same() {
    let schedule = schedule(json!({ "cron": "0 * * * *", "jitter": "10s" }));
    let from = at("2026-01-01T00:00:00Z");
    let ticks: Vec<_> = schedule.timing.after(from).take(500).collect();
    let late: Vec<_> = ticks.iter().map(|tick| schedule.due(*tick).0 - tick.0).collect();
    assert!(late.iter().all(|ms| *ms <= 10_000));
    let mean = late.iter().sum::<u64>() / 500;
    assert!((4_000..6_000).contains(&mean), "{mean}");
    let again: Vec<_> = ticks.iter().map(|tick| schedule.due(*tick).0 - tick.0).collect();
    assert_eq!(again, late);
    let pinned: Vec<_> = late.iter().take(3).copied().collect();
    assert_eq!(pinned, [3_930, 8_618, 6_268], "of another version, ticks would move");
}

/// What is made real if somebody looks at these moments, each as the one before left it.
fn made(schedule: &Schedule, from: UnixMs, looks: impl Iterator<Item = UnixMs>) -> Vec<UnixMs> {
    let (mut position, mut made) = (from, Vec::new());
    for now in looks {
        while let Some(found) =
            due(&schedule.timing, &schedule.misfire, Ahead::USUAL, position, now)
        {
            assert!(found.ticks.len() <= MOST_TOGETHER);
            assert!(
                found.to >= position && found.ticks.last().is_none_or(|last| found.to >= *last)
            );
            assert!(found.ticks.iter().all(|tick| *tick > position && *tick <= now.plus(AHEAD)));
            assert!(found.to > position, "{found:?}");
            position = found.to;
            made.extend(found.ticks);
        }
    }
    made
}

/// However often and irregularly somebody looks, if no two looks are further apart than the grace.
#[test]
fn no_tick_is_lost_or_made_twice_while_somebody_looks() {
    let mut rng = fastrand::Rng::with_seed(18);
    for every in [1, 5, 47, 3_600, 86_400] {
        let schedule = schedule(json!({ "cron": null, "every": format!("{every}s") }));
        let from = at("2026-03-28T20:00:00Z");
        let mut now = from;
        let looks = std::iter::from_fn(|| {
            now = now.plus(Duration::from_millis(rng.u64(0..60_000)));
            // a clock is set back now and then
            Some(if rng.u8(0..8) == 0 { now.minus(Duration::from_secs(20)) } else { now })
        });
        let made = made(&schedule, from, looks.take(5_000));
        let wanted: Vec<_> = schedule.timing.after(from).take(made.len()).collect();
        assert_eq!(made, wanted);
        assert!(made.last().is_some_and(|last| *last >= now.minus(Duration::from_secs(every))));
    }
}

#[test]
fn a_day_of_downtime_is_made_up_for_as_the_schedule_says() {
    let begin = at("2026-06-01T00:00:00Z");
    // up to 90 s before the downtime all was made real
    let down = begin.plus(Duration::from_secs(3_600));
    let up = down.plus(DAY);
    let missed = |misfire: Json| {
        let schedule = schedule(json!({ "cron": "*/10 * * * *", "misfire": misfire }));
        let looks = [down, up].into_iter();
        let made = made(&schedule, begin, looks).into_iter();
        made.filter(|tick| *tick > down.plus(AHEAD) && *tick < up).collect::<Vec<_>>()
    };
    let newest = up.minus(Duration::from_secs(600));
    assert_eq!(missed(json!({ "fire": "skip" })), []);
    assert_eq!(missed(json!({ "fire": "once" })), [newest]);
    assert_eq!(missed(json!({})), [newest], "once, if nothing is said");
    let three: Vec<_> = [1_800, 1_200, 600].map(|s| up.minus(Duration::from_secs(s))).into();
    assert_eq!(missed(json!({ "fire": "all", "at_most": 3 })), three);
    assert_eq!(missed(json!({ "fire": "all", "at_most": 1000, "window": "35m" })), three);
    assert_eq!(missed(json!({ "fire": "all", "at_most": 1000, "window": "2d" })).len(), 143);
    assert_eq!(
        missed(json!({ "fire": "skip", "grace": "25m" })).len(),
        2,
        "late by less than grace"
    );
    // more than are made real together, of one that fires each second
    let schedule = schedule(
        json!({ "cron": null, "every": "1s", "misfire": { "fire": "all", "at_most": 250 } }),
    );
    let looks = [down, up].into_iter();
    let ticks: BTreeSet<_> = made(&schedule, down, looks).into_iter().collect();
    let late = ticks
        .iter()
        .filter(|tick| **tick > down.plus(AHEAD) && **tick < up.minus(schedule.misfire.grace));
    assert_eq!(late.count(), 250);
}

#[test]
fn what_is_long_gone_costs_no_long_search() {
    let schedule =
        schedule(json!({ "cron": "* * * * * *", "misfire": { "fire": "once", "window": "30d" } }));
    let begun = std::time::Instant::now();
    let now = at("2027-01-01T00:00:00Z");
    let found = due(&schedule.timing, &schedule.misfire, Ahead::USUAL, UnixMs(0), now).unwrap();
    assert_eq!(found.ticks.first(), Some(&now.minus(Duration::from_millis(61_000))));
    println!("{:?} for {} ticks", begun.elapsed(), found.ticks.len());
    assert_eq!(found.ticks.len(), MOST_TOGETHER);
    assert_eq!(Misfire::default().policy, Policy::Once);
}

#[test]
fn an_expression_is_told_in_words() {
    for (cron, told) in [
        ("0 3 * * *", "at 03:00 every day"),
        ("@hourly", "every hour"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("* * * * *", "every minute"),
        ("* * * * * *", "every second"),
        ("30 2 * * MON-FRI", "at 02:30 on Monday to Friday"),
        ("0 9,17 * * 1", "at 09:00 and 17:00 on Monday"),
        ("0 0 1 1 *", "at 00:00 on day 1 of the month, in January"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 15W * *", "at 00:00 on the weekday nearest to day 15 of the month"),
        ("0 0 * * 5#2", "at 00:00 on the second Friday of the month"),
        ("0 0 * * 5L", "at 00:00 on the last Friday of the month"),
        ("0 0 13 * 5", "at 00:00 on day 13 of the month, and on Friday"),
        ("*/5 9-17 * * *", "every 5 minutes, in hour 9 to 17"),
        ("30 */6 * * *", "at 00:30, 06:30, 12:30 and 18:30 every day"),
        ("0 */2 * 3-5,12 *", "every 2 hours, in March to May and December"),
        ("5 * * * *", "at minute 5 of the hour"),
    ] {
        let schedule = schedule(json!({ "cron": cron }));
        assert_eq!(words(&schedule.timing), told, "{cron}");
    }
    assert_eq!(words(&schedule(json!({ "cron": null, "every": "90s" })).timing), "every 1m30s");
}
