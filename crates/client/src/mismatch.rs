//! Whether the levels that a configuration describes are those that stand on the broker, over AMQP
//! alone: a level queue's name carries its level, its digit and its TTL.

use std::fmt;
use std::time::Duration;

use crate::amqp::inspector::Inspector;
use crate::amqp::{AmqpError, Connection};
use crate::config::{Config, durations};
use crate::schedule::{Layout, Level};
use crate::topology::{self, Names};

/// How a client's configuration differs from what the broker holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mismatch {
    /// One for each key of the configuration.
    pub differences: Vec<Difference>,
}

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key of the configuration.
    pub key: &'static str,
    /// Its value in this process.
    pub here: String,
    /// What stands on the broker.
    pub broker: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client's configuration does not match what the broker holds: ")?;
        for (number, Difference { key, here, broker }) in self.differences.iter().enumerate() {
            let and = if number == 0 { "" } else { "; " };
            write!(f, "{and}{key} is {here} here and {broker} on the broker")?;
        }
        f.write_str(". Give the client the worker's configuration")
    }
}

/// Looks for other versions up to this many beyond the configured one.
const VERSIONS_AHEAD: u32 = 8;
/// Looks for a radix up to here.
const LARGEST_RADIX: usize = 256;
/// Units that a broker is asked for when ours is not there.
const UNITS_MS: [u64; 24] = [
    1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 15_000,
    20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 3_600_000,
];

/// Nothing if every level queue of the configuration stands on the broker.
///
/// Errors: the broker's; a missing queue is no error.
pub async fn mismatch(
    connection: &Connection,
    config: &Config,
) -> Result<Option<Mismatch>, AmqpError> {
    let (names, layout) = (Names::of(config), topology::layout(config));
    let mut inspector = Inspector::open(connection).await?;
    if inspector.queue(&names.due()).await?.is_none() {
        let difference = version(&mut inspector, config, &names).await?;
        return Ok(Some(Mismatch { differences: vec![difference] }));
    }
    let missing = missing(&mut inspector, &names, &layout).await?;
    let Some(missing) = missing else { return Ok(None) };
    let mut differences = shape(&mut inspector, config, &names).await?;
    if differences.is_empty() {
        let (here, broker) = (format!("a layout with {missing:?}"), "one without".to_owned());
        differences.push(Difference { key: "topology", here, broker });
    }
    Ok(Some(Mismatch { differences }))
}

/// The first level queue of ours that is not there.
async fn missing(
    inspector: &mut Inspector<'_>,
    names: &Names,
    layout: &Layout,
) -> Result<Option<String>, AmqpError> {
    for level in layout.levels() {
        for digit in 1..level.keys.len() {
            let queue = names.level_queue(level, digit);
            if inspector.queue(&queue).await?.is_none() {
                return Ok(Some(queue));
            }
        }
    }
    Ok(None)
}

/// The versions that are there, if ours is not.
async fn version(
    inspector: &mut Inspector<'_>,
    config: &Config,
    names: &Names,
) -> Result<Difference, AmqpError> {
    let mut found = Vec::new();
    for version in 1..=names.version() + VERSIONS_AHEAD {
        if inspector.queue(&names.in_version(version).due()).await?.is_some() {
            found.push(version.to_string());
        }
    }
    if found.is_empty() {
        let here = format!("{:?}", config.topology.namespace);
        let broker = "another, or none of a worker's (no due queue stands there)".to_owned();
        return Ok(Difference { key: "topology.namespace", here, broker });
    }
    let here = names.version().to_string();
    Ok(Difference { key: "topology.version", here, broker: found.join(" and ") })
}

/// Unit, radix and length as the broker has them, where they differ.
async fn shape(
    inspector: &mut Inspector<'_>,
    config: &Config,
    names: &Names,
) -> Result<Vec<Difference>, AmqpError> {
    let ours = &config.topology;
    let mut unit = None;
    let common = UNITS_MS.map(Duration::from_millis);
    for candidate in [ours.unit].into_iter().chain(common) {
        if has(inspector, names, candidate, 2, 0, 1).await? {
            unit = Some(candidate);
            break;
        }
    }
    let Some(unit) = unit else {
        let (here, broker) = (durations::duration(ours.unit), "another".to_owned());
        return Ok(vec![Difference { key: "topology.unit", here, broker }]);
    };
    let mut differences = Vec::new();
    let mut note = |key, here, broker| {
        if here != broker {
            differences.push(Difference { key, here, broker });
        }
    };
    note("topology.unit", durations::duration(ours.unit), durations::duration(unit));
    let top_digit = highest(inspector, names, unit, LARGEST_RADIX, 0).await?;
    // the lowest level has every digit, unless it is the only one
    let radix = top_digit + 1;
    if has(inspector, names, unit, radix, 1, 1).await? {
        note("topology.radix", ours.radix.to_string(), radix.to_string());
    }
    let mut top = (0, top_digit);
    while has(inspector, names, unit, radix, top.0 + 1, 1).await? {
        top = (top.0 + 1, highest(inspector, names, unit, radix, top.0 + 1).await?);
    }
    if differences.is_empty() {
        let units = (radix as u64).pow(top.0 as u32) * (top.1 as u64 + 1);
        let longest = unit.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX));
        let broker = format!("less than {}", durations::duration(longest));
        differences.push(Difference {
            key: "topology.max_delay",
            here: durations::duration(ours.max_delay),
            broker,
        });
    }
    Ok(differences)
}

async fn highest(
    inspector: &mut Inspector<'_>,
    names: &Names,
    unit: Duration,
    radix: usize,
    level: usize,
) -> Result<usize, AmqpError> {
    let mut digit = 0;
    while digit + 1 < radix && has(inspector, names, unit, radix, level, digit + 1).await? {
        digit += 1;
    }
    Ok(digit)
}

/// Whether the queue of this digit stands there, in a layout of this unit and radix.
async fn has(
    inspector: &mut Inspector<'_>,
    names: &Names,
    unit: Duration,
    radix: usize,
    level: usize,
    digit: usize,
) -> Result<bool, AmqpError> {
    let step_ms = (radix as u64)
        .checked_pow(level as u32)
        .and_then(|step| step.checked_mul(unit.as_millis() as u64));
    let Some(step_ms) = step_ms else { return Ok(false) };
    let keys = (0..=digit as u64)
        .map(|digit| durations::duration(Duration::from_millis(step_ms.saturating_mul(digit))));
    let level = Level { number: level, step_ms, radix: radix as u64, keys: keys.collect() };
    Ok(inspector.queue(&names.level_queue(&level, digit)).await?.is_some())
}
