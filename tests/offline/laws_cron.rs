//! When cron expressions fire: against two other implementations, over changes of clocks, and by what has to hold of any.

use std::process::Command;

use dormouse_core::recurring::timing::Pattern;
use dormouse_core::recurring::{Timing, cron::Cron, zone};
use dormouse_core::schedule::UnixMs;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use crate::docs::root;
use crate::fetched::fetched;

/// With changes of half an hour, at midnight, in the southern half of the world, and none.
const ZONES: [&str; 12] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Europe/London",
    "America/Havana",
    "Pacific/Chatham",
    "Asia/Kolkata",
    "America/St_Johns",
    "Australia/Sydney",
    "America/Denver",
    "Asia/Tokyo",
    "UTC",
];
/// Node.js takes 10 to 100 ms for each: `DORMOUSE_TEST_CASES` has more of them.
const CASES: usize = 2_000;
const COUNT: usize = 3;
/// One of so many is asked of cron-parser, too.
const BOTH_ONE_IN: usize = 4;
const SEED: u64 = 18;

fn timing(cron: &str, zone_name: &str) -> Timing {
    let pattern = Pattern::Cron(Cron::parse(cron).unwrap_or_else(|why| panic!("{cron} {why}")));
    Timing { pattern, zone: zone::get(zone_name).unwrap(), start: None, end: None }
}

fn at(text: &str) -> UnixMs {
    let moment: Timestamp = text.parse().unwrap();
    UnixMs(moment.as_millisecond() as u64)
}

fn local(ms: UnixMs, zone: &TimeZone) -> String {
    let moment = Timestamp::from_millisecond(ms.0 as i64).unwrap();
    moment.to_zoned(zone.clone()).strftime("%m-%d %H:%M:%S%:z").to_string()
}

/// What fires after a moment, as clocks on the wall show it.
fn fires(cron: &str, zone_name: &str, after: &str, count: usize) -> Vec<String> {
    let timing = timing(cron, zone_name);
    timing.after(at(after)).take(count).map(|tick| local(tick, &timing.zone)).collect()
}

/// One field that others read alike.
fn field(rng: &mut fastrand::Rng, first: u8, last: u8, common: &[&str]) -> String {
    let mut value = || rng.u8(first..=last);
    match value() % 5 {
        0 | 1 => "*".into(),
        2 => {
            let (a, b) = (value(), value());
            format!("{}-{}", a.min(b), a.max(b))
        }
        3 => {
            let mut values: Vec<_> = (0..3).map(|_| value()).collect();
            values.sort_unstable();
            values.dedup();
            values.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
        }
        _ => common[rng.usize(0..common.len())].into(),
    }
}

/// Days of the month or of the week, not both: `W` and the like are not read alike then.
fn days(rng: &mut fastrand::Rng) -> (String, String) {
    let day = || "*".to_owned();
    match rng.u8(0..8) {
        0 | 1 => (day(), day()),
        2 => (rng.u8(1..=28).to_string(), day()),
        3 => (field(rng, 1, 28, &["L", "31", "29-31"]), day()),
        4 => ("L".into(), day()),
        5 => (day(), field(rng, 1, 6, &["1-5", "MON-FRI", "SAT,SUN", "5#2", "1#1"])),
        6 => (day(), format!("{}#{}", rng.u8(1..=6), rng.u8(1..=4))),
        // either will do
        _ => (rng.u8(1..=28).to_string(), rng.u8(1..=6).to_string()),
    }
}

fn expression(rng: &mut fastrand::Rng) -> String {
    let (day, weekday) = days(rng);
    let minute = field(rng, 0, 59, &["*/5", "*/15", "30", "0", "10-40/10"]);
    let hour = field(rng, 0, 23, &["*/6", "2", "3", "9-17", "0"]);
    let month = if rng.u8(0..4) > 0 {
        "*".into()
    } else {
        field(rng, 1, 12, &["*/3", "JAN", "JUN-AUG", "3", "10"])
    };
    let rest = format!("{minute} {hour} {day} {month} {weekday}");
    match rng.u8(0..4) {
        0 => format!("{} {rest}", field(rng, 0, 59, &["0", "*/10", "30"])),
        _ => rest,
    }
}

fn case(rng: &mut fastrand::Rng) -> Json {
    let zone = ZONES[rng.usize(0..ZONES.len())];
    // half of them a few days before a change of its clock
    let year = rng.i16(2016..2026);
    let begin = jiff::civil::date(year, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let mut after = begin.as_millisecond() as u64 + rng.u64(0..365 * 86_400_000);
    let zone_rules = zone::get(zone).unwrap();
    let moment = Timestamp::from_millisecond(after as i64).unwrap();
    if rng.bool()
        && let Some(change) = zone_rules.following(moment).next()
    {
        after = change.timestamp().as_millisecond() as u64 - rng.u64(0..3 * 86_400_000);
    }
    json!({ "cron": expression(rng), "zone": zone, "after_ms": after, "count": COUNT })
}

/// The clock of the zone changes somewhere from there to there, or a day around.
fn changes(zone_name: &str, from: u64, to: u64) -> bool {
    let zone = zone::get(zone_name).unwrap();
    let moment = Timestamp::from_millisecond(from as i64 - 86_400_000).unwrap();
    let end = Timestamp::from_millisecond(to as i64 + 86_400_000).unwrap();
    let offset = zone.to_offset(moment);
    zone.following(moment)
        .take_while(|change| change.timestamp() <= end)
        .any(|change| change.offset() != offset)
}

/// Where all implementations have to agree with ours about changes of clocks: one time on the wall, or each hour.
fn is_plain(cron: &str) -> bool {
    let fields: Vec<_> = cron.split(' ').collect();
    let [minute, hour] = [fields[fields.len() - 5], fields[fields.len() - 4]];
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    fields.len() == 5 && is_number(minute) && is_number(hour) || hour == "*"
}

fn others(cases: &[Json]) -> Option<Vec<Json>> {
    let folder = fetched("cron")?;
    let own = tempfile::tempdir_in(&folder).unwrap();
    let (program, file) = (own.path().join("next.mjs"), own.path().join("cases"));
    std::fs::copy(root().join("tests/offline/cron/next.mjs"), &program).unwrap();
    let lines: Vec<_> = cases.iter().map(Json::to_string).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = Command::new("node").args([&program, &file]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    Some(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn thousands_of_expressions_fire_when_croner_and_cron_parser_say() {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let count = std::env::var("DORMOUSE_TEST_CASES").ok().and_then(|count| count.parse().ok());
    let count: usize = count.unwrap_or(CASES);
    let cases: Vec<_> = std::iter::repeat_with(|| case(&mut rng))
        .filter(|case| Cron::parse(case["cron"].as_str().unwrap()).is_ok())
        .take(count)
        .enumerate()
        .map(|(number, mut case)| {
            let (over_change, _) = reckoned(&case);
            case["both"] = json!(over_change || number % BOTH_ONE_IN == 0);
            case
        })
        .collect();
    let Some(answers) = others(&cases) else { return };
    let (mut by_croner, mut by_parser, mut over_changes, mut differ) = (0, 0, 0, 0);
    for (case, answer) in cases.iter().zip(&answers) {
        let (over_change, ours) = reckoned(case);
        let told = || format!("{case}\nours {ours}\nothers {answer}");
        let [croner, parser] =
            ["croner", "cron_parser"].map(|name| Some(&answer[name]).filter(|it| it.is_array()));
        if over_change {
            // what they do then is not the same: an hour that comes twice at midnight is passed over by croner
            let agree = [croner, parser].into_iter().flatten().any(|said| *said == ours);
            let is_plain = is_plain(case["cron"].as_str().unwrap());
            assert!(agree || !is_plain || croner.is_none(), "{}", told());
            over_changes += usize::from(is_plain && agree);
            differ += usize::from(is_plain && croner.is_some_and(|said| *said != ours));
            continue;
        }
        if let Some(said) = croner {
            assert_eq!(*said, ours, "{}", told());
            by_croner += 1;
        }
        if let Some(said) = parser {
            assert_eq!(*said, ours, "{}", told());
            by_parser += 1;
        }
    }
    println!(
        "{by_croner} by croner, {by_parser} by cron-parser; {over_changes} over changes, by one of them, and {differ} \
         otherwise than croner"
    );
    assert!(by_croner > count / 3 && by_parser > count / 16 && over_changes > count / 20);
    assert!(differ < over_changes / 4, "{differ} of {over_changes}");
}

/// Whether the clock of its zone changes meanwhile, and what we say.
fn reckoned(case: &Json) -> (bool, Json) {
    let [cron, zone] = ["cron", "zone"].map(|name| case[name].as_str().unwrap());
    let after = case["after_ms"].as_u64().unwrap();
    let ours: Vec<_> = timing(cron, zone).after(UnixMs(after)).take(COUNT).collect();
    (changes(zone, after, ours.last().unwrap().0), json!(ours))
}

#[test]
fn a_time_that_is_left_out_fires_at_the_first_moment_and_one_that_comes_twice_fires_once() {
    let berlin = "Europe/Berlin";
    // 02:00 to 03:00 is left out
    let spring = "2026-03-28T12:00:00Z";
    assert_eq!(
        fires("30 2 * * *", berlin, spring, 3),
        ["03-29 03:00:00+02:00", "03-30 02:30:00+02:00", "03-31 02:30:00+02:00"]
    );
    assert_eq!(
        fires("15,45 2 * * *", berlin, spring, 2),
        ["03-29 03:00:00+02:00", "03-30 02:15:00+02:00"]
    );
    assert_eq!(
        fires("0 2,3 * * *", berlin, spring, 2),
        ["03-29 03:00:00+02:00", "03-30 02:00:00+02:00"]
    );
    assert_eq!(
        fires("0 3 * * *", berlin, spring, 2),
        ["03-29 03:00:00+02:00", "03-30 03:00:00+02:00"]
    );
    assert_eq!(
        fires("30 * * * *", berlin, "2026-03-29T00:00:00Z", 3),
        ["03-29 01:30:00+01:00", "03-29 03:30:00+02:00", "03-29 04:30:00+02:00"]
    );
    // 02:00 to 03:00 comes twice
    let autumn = "2026-10-24T12:00:00Z";
    assert_eq!(
        fires("30 2 * * *", berlin, autumn, 2),
        ["10-25 02:30:00+02:00", "10-26 02:30:00+01:00"]
    );
    assert_eq!(
        fires("30 * * * *", berlin, "2026-10-25T00:00:00Z", 4),
        [
            "10-25 02:30:00+02:00",
            "10-25 02:30:00+01:00",
            "10-25 03:30:00+01:00",
            "10-25 04:30:00+01:00"
        ]
    );
    // asked from in between
    assert_eq!(fires("30 2 * * *", berlin, "2026-10-25T00:45:00Z", 1), ["10-26 02:30:00+01:00"]);
    assert_eq!(fires("30 2 * * *", berlin, "2026-03-29T00:59:59Z", 1), ["03-29 03:00:00+02:00"]);
    assert_eq!(fires("30 2 * * *", berlin, "2026-03-29T01:00:00Z", 1), ["03-30 02:30:00+02:00"]);
}

#[test]
fn changes_of_half_an_hour_at_midnight_and_of_a_whole_day_are_kept() {
    // 02:00 becomes 02:30
    assert_eq!(
        fires("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
        ["10-04 02:30:00+11:00", "10-05 02:10:00+11:00"]
    );
    // 00:00 becomes 01:00
    assert_eq!(
        fires("0 0 * * *", "America/Havana", "2026-03-07T12:00:00Z", 2),
        ["03-08 01:00:00-04:00", "03-09 00:00:00-04:00"]
    );
    // 30 December 2011 is left out
    assert_eq!(
        fires("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3),
        ["12-29 12:00:00-10:00", "12-31 00:00:00+14:00", "12-31 12:00:00+14:00"]
    );
}

#[test]
fn the_last_the_nearest_and_the_nth_day_are_those_of_the_calendar() {
    let from = "2026-01-01T00:00:00Z";
    let days = |cron: &str, count| -> Vec<String> {
        let fired = fires(cron, "UTC", from, count).into_iter();
        fired.map(|tick| tick[..5].to_owned()).collect()
    };
    assert_eq!(days("0 9 L * *", 3), ["01-31", "02-28", "03-31"]);
    assert_eq!(days("0 9 LW * *", 3), ["01-30", "02-27", "03-31"]);
    // Saturday the 1st has its Friday in another month, Sunday the 31st its Monday
    assert_eq!(days("0 9 1W 8 *", 1), ["08-03"]);
    assert_eq!(days("0 9 31W 5 *", 1), ["05-29"]);
    assert_eq!(days("0 9 15W * *", 3), ["01-15", "02-16", "03-16"]);
    assert_eq!(days("0 9 * * 5L", 3), ["01-30", "02-27", "03-27"]);
    assert_eq!(days("0 9 * * FRI#2", 3), ["01-09", "02-13", "03-13"]);
    assert_eq!(days("0 9 * * 7", 2), ["01-04", "01-11"]);
    assert_eq!(days("0 9 * * SAT-SUN", 3), ["01-03", "01-04", "01-10"]);
    // either will do
    assert_eq!(days("0 9 13 * FRI", 3), ["01-02", "01-09", "01-13"]);
    assert_eq!(days("0 9 29 2 *", 2), ["02-29", "02-29"]);
    // the fifth of a weekday on a leap day
    assert_eq!(fires("0 9 * 2 0#5", "UTC", from, 1), ["02-29 09:00:00+00:00"]);
}

#[test]
fn what_programs_read_differently_is_refused_with_field_value_and_what_would_be_right() {
    for (cron, says) in [
        ("61 * * * *", "has the minute \"61\", which cannot be: write 0 to 59"),
        ("* 24 * * *", "hour \"24\", which cannot be: write 0 to 23"),
        ("* * 0 * *", "day of month \"0\", which cannot be: write 1 to 31"),
        ("* * * 13 *", "month \"13\", which cannot be: write 1 to 12, or JAN to DEC"),
        ("* * * * 8", "day of week \"8\", which cannot be: write 0 to 7, or SUN to SAT"),
        ("* * * JANFEB *", "month \"JANFEB\""),
        ("* * * * MONTUE", "day of week \"MONTUE\""),
        ("* * ? * *", "is of another cron: write *"),
        ("5/10 * * * *", "begins a step at one value: write 5-59/…"),
        ("*/60 * * * *", "has a step that is none: write 1 to 59"),
        ("*/0 * * * *", "has a step that is none: write 1 to 59"),
        ("* 22-2 * * *", "runs backwards: write two ranges, 22-23,0-2"),
        ("* * * * FRI-MON", "runs backwards: write two ranges, 5-6,0-1"),
        ("0 0 L-3 * *", "counts from the end, which is not supported"),
        ("0 0 * * L", "names no day: write 5L"),
        ("0 0 * * 5#6", "names no week of a month"),
        ("0 0 */2 * 1", "which cron programs read differently"),
        ("+1 * * * *", "minute \"+1\""),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("* * * *", "has 4 fields: write five"),
        ("* * * * * * *", "has 7 fields"),
        ("", "has 0 fields"),
        ("@often", "is no nickname: write one of @yearly"),
        ("@reboot", "is no nickname"),
        ("* * * * * 1,", "day of week \"\""),
    ] {
        let why = Cron::parse(cron).unwrap_err();
        assert!(why.contains(says), "{cron}: {why}");
    }
    for cron in ["@daily", "@HOURLY", "0 0 * jan-mar sun", "0 0 29W 2 *", "*/1 * * * *"] {
        assert!(Cron::parse(cron).is_ok(), "{cron}");
    }
}

/// What has to hold of any expression, in any zone.
#[test]
fn ticks_grow_and_each_is_the_next_of_any_moment_before_it() {
    let mut rng = fastrand::Rng::with_seed(SEED + 1);
    for _ in 0..2_000 {
        let case = case(&mut rng);
        let [cron, zone] = ["cron", "zone"].map(|name| case[name].as_str().unwrap());
        if Cron::parse(cron).is_err() {
            continue;
        }
        let timing = timing(cron, zone);
        let after = UnixMs(case["after_ms"].as_u64().unwrap());
        let mut last = after;
        for tick in timing.after(after).take(5) {
            assert!(tick > last, "{case}");
            assert_eq!(tick.0 % 1_000, 0, "{case}");
            let between = UnixMs(rng.u64(last.0..tick.0));
            assert_eq!(timing.next(between), Some(tick), "{case} {between}");
            let bounded = Timing { start: Some(tick), end: Some(tick), ..timing.clone() };
            assert_eq!(bounded.after(after).collect::<Vec<_>>(), [tick], "{case}");
            last = tick;
        }
    }
}
