//! In: a log filter. Out: what is wrong with it, as the subscriber that reads it says.

use dormouse_core::settings::rules::{Rules, Violation};
use dormouse_core::settings::text::{cut, last_line, quoted};

use super::Config;

const KEY: &[&str] = &["log.filter"];

pub(super) fn broken(config: &Config) -> Vec<Violation> {
    let mut rules = Rules::new(config);
    let filter = &config.log.filter;
    if let Some(typo) = filter.split(',').map(str::trim).find(|part| is_no_level(part)) {
        let typo = cut(&quoted(typo));
        let problem =
            format!("{typo} is no level; write error, warn, info, debug, trace, off or name=level");
        rules.fail(KEY, problem);
    } else if let Err(error) = tracing_subscriber::EnvFilter::try_new(filter) {
        rules.fail(KEY, format!("is not a filter: {}", last_line(&error.to_string())));
    }
    rules.broken
}

/// A bare word is a level. To the filter it may also be the name of a module, at level trace, so
/// that "inof" would log nothing.
fn is_no_level(part: &str) -> bool {
    let is_level = part.parse::<tracing::level_filters::LevelFilter>().is_ok();
    part.is_empty() || !is_level && !part.contains(['=', '[', ']', '{', '}', '"'])
}
