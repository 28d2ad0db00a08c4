//! In: when a schedule fires. Out: the same in a sentence. Pure.

use super::cron::{Cron, Days, Weekdays};
use super::timing::{Pattern, Timing};
use crate::settings::durations::duration;

const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const NTH: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
/// Times of a day that are told one by one.
const MOST_TIMES: u32 = 6;

/// `at 03:00 on Monday to Friday, in January`. An expression is one of its zone.
pub fn words(timing: &Timing) -> String {
    match &timing.pattern {
        Pattern::Every(every) => format!("every {}", duration(*every)),
        Pattern::Cron(cron) => of_cron(cron),
    }
}

fn of_cron(cron: &Cron) -> String {
    let mut told = times(cron);
    // not a minute of each hour
    let is_of_day = told.starts_with("at ") && told.contains(':');
    match (cron.days.any, cron.weekdays.any) {
        (true, true) if is_of_day => told += " every day",
        (true, true) => {}
        (false, true) => told += &format!(" on {}", days(&cron.days)),
        (true, false) => told += &format!(" on {}", weekdays(&cron.weekdays)),
        (false, false) => {
            told += &format!(" on {}, and on {}", days(&cron.days), weekdays(&cron.weekdays));
        }
    }
    if cron.months.count_ones() < 12 {
        let months = ranges(cron.months.into(), |month| MONTHS[month as usize - 1].to_owned());
        told += &format!(", in {months}");
    }
    told
}

fn times(cron: &Cron) -> String {
    let Cron { seconds, minutes, hours, .. } = cron;
    let hours = u64::from(*hours);
    let count = seconds.count_ones() * minutes.count_ones() * hours.count_ones();
    if count <= MOST_TIMES {
        let mut times = Vec::new();
        for hour in bits(hours) {
            for minute in bits(*minutes) {
                for second in bits(*seconds) {
                    times.push(match *seconds {
                        1 => format!("{hour:02}:{minute:02}"),
                        _ => format!("{hour:02}:{minute:02}:{second:02}"),
                    });
                }
            }
        }
        return format!("at {}", listed(&times));
    }
    let within_hour = match (*seconds, every(*minutes, 60)) {
        (1, Some(1)) => "every minute".to_owned(),
        (1, Some(step)) => format!("every {step} minutes"),
        (1, None) if *minutes == 1 => "every hour".to_owned(),
        (1, None) => format!("at minute {} of the hour", numbers(*minutes)),
        (_, Some(1)) => match every(*seconds, 60) {
            Some(1) => "every second".to_owned(),
            Some(step) => format!("every {step} seconds"),
            None => format!("at second {} of every minute", numbers(*seconds)),
        },
        (_, _) => {
            format!("at second {} of minute {}", numbers(*seconds), numbers(*minutes))
        }
    };
    match every(hours, 24) {
        Some(1) => within_hour,
        Some(step) if within_hour == "every hour" => format!("every {step} hours"),
        Some(step) => format!("{within_hour}, every {step} hours"),
        None => format!("{within_hour}, in hour {}", numbers(hours)),
    }
}

fn days(days: &Days) -> String {
    let mut parts = Vec::new();
    if days.bits != 0 {
        parts.push(format!("day {}", numbers(days.bits.into())));
    }
    if days.nearest != 0 {
        parts.push(format!("the weekday nearest to day {}", numbers(days.nearest.into())));
    }
    if days.last {
        parts.push("the last day".to_owned());
    }
    if days.last_weekday {
        parts.push("the last weekday".to_owned());
    }
    format!("{} of the month", listed(&parts))
}

fn weekdays(weekdays: &Weekdays) -> String {
    let name = |day: u32| WEEKDAYS[day as usize].to_owned();
    let mut parts = Vec::new();
    if weekdays.bits != 0 {
        parts.push(ranges(weekdays.bits.into(), name));
    }
    for (day, nth) in weekdays.nth.iter().enumerate() {
        for nth in bits((*nth).into()) {
            let day = name(day as u32);
            parts.push(format!("the {} {day} of the month", NTH[nth as usize - 1]));
        }
    }
    for day in bits(weekdays.last.into()) {
        parts.push(format!("the last {} of the month", name(day)));
    }
    listed(&parts)
}

/// The step, if it is every n-th of all from 0 on, evenly into the next round.
fn every(set: u64, of: u32) -> Option<u32> {
    let count = set.count_ones();
    if count < 2 || !of.is_multiple_of(count) {
        return None;
    }
    let step = of / count;
    let even = (0..of).step_by(step as usize).fold(0, |bits, bit| bits | 1 << bit);
    (set == even).then_some(step)
}

fn numbers(set: u64) -> String {
    ranges(set, |number| number.to_string())
}

/// `1 to 3, 5`; two neighbours are no range.
fn ranges(set: u64, name: impl Fn(u32) -> String) -> String {
    let mut parts = Vec::new();
    let mut left = set;
    while left != 0 {
        let first = left.trailing_zeros();
        let length = (!(left >> first)).trailing_zeros();
        let last = first + length - 1;
        match length {
            1 => parts.push(name(first)),
            2 => parts.extend([name(first), name(last)]),
            _ => parts.push(format!("{} to {}", name(first), name(last))),
        }
        left &= !(((1 << length) - 1) << first);
    }
    listed(&parts)
}

fn bits(set: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |bit| set >> bit & 1 == 1)
}

fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}
