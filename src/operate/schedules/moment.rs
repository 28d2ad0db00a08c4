//! Ticks as people read them: in the zone of their schedule.

use dormouse_client::Shown;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::schedule::UnixMs;

/// What it is in; that of an interval does not matter.
pub fn zone_of(shown: &Shown) -> &str {
    match &shown.definition.cron {
        None => "",
        Some(_) => shown.definition.zone.as_deref().unwrap_or("UTC"),
    }
}

/// In the schedule's zone, as far as this machine knows it.
pub fn local(moment: UnixMs, shown: &Shown) -> String {
    let zone = TimeZone::get(zone_of(shown)).unwrap_or(TimeZone::UTC);
    in_zone(moment, zone)
}

/// `2027-01-01 04:00:00+01:00`.
pub fn in_zone(moment: UnixMs, zone: TimeZone) -> String {
    let at = i64::try_from(moment.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match at {
        Some(at) => at.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S%:z").to_string(),
        None => moment.to_string(),
    }
}
