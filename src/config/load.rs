//! In: a file, variables and flags. Out: one checked [`Config`], or every fault at once.
//!
//! Each source is first cut down to the keys we know; the `config` crate then merges them and
//! remembers where each value came from; the table of keys reads what is left.

use std::path::{Path, PathBuf};

use ::config::{ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use super::{log, read};
use dormouse_core::settings::Config;
use dormouse_core::settings::check;
use dormouse_core::settings::fault::{ConfigFaults, Fault, closest};
use dormouse_core::settings::keys::{Field, Key};
use dormouse_core::settings::rules::Violation;
use dormouse_core::settings::table::{self, KEYS};
use dormouse_core::settings::text::cut;

/// Where a configuration comes from, weakest first. Nothing else is read: no default path, no
/// environment of the process.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A TOML file. It must exist if it is named.
    pub file: Option<PathBuf>,
    /// Variables as name and value; those that do not start with `DORMOUSE_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Keys and values from the command line, such as `("topology.unit", "1s")`.
    pub overrides: Vec<(String, String)>,
}

const COMMAND_LINE: &str = "command line";
const DEFAULT: &str = "default";

/// Defaults < file < environment < overrides; a list is replaced as a whole. Unknown keys and
/// unknown `DORMOUSE_` variables are faults, and so is everything [`check()`] finds.
pub fn load(sources: Sources) -> Result<Config, ConfigFaults> {
    let mut faults = Vec::new();
    let file = sources
        .file
        .as_deref()
        .map_or_else(|| Some(Layer::default()), |path| from_file(path, &mut faults));
    let all_is_known = file.is_some();
    let environment = from_environment(&sources.environment, &mut faults);
    let overrides = from_overrides(&sources.overrides, &mut faults);

    let merged = match merge([file.unwrap_or_default(), environment, overrides]) {
        Ok(merged) => merged,
        Err(error) => {
            let problem = one_line(&error.to_string());
            faults.push(fault("configuration", None, None, problem));
            return Err(ConfigFaults::new(faults));
        }
    };

    let mut config = Config::default();
    for key in KEYS {
        let Some(value) = lookup(&merged, key.name) else { continue };
        let Err(wrong) = read::read(key, value, &mut config) else { continue };
        faults.extend(wrong.into_iter().map(|wrong| {
            let shown = wrong.item.or_else(|| read::shown(key, value));
            fault(key.name, shown, value.origin(), wrong.problem)
        }));
    }
    if lookup(&merged, "delay_exchange").is_none() {
        config.delay_exchanges.clear();
    }
    config.put_the_default_exchange_first();

    // a rule is not judged by a default that stands in for what could not be read
    let unread: Vec<String> = faults.iter().map(|fault| fault.key.clone()).collect();
    let judged = |broken: &Violation| {
        (all_is_known || broken.involves.len() == 1)
            && !broken.involves.iter().any(|key| unread.iter().any(|u| u == key))
    };
    faults.extend(broken(&config).into_iter().filter(judged).map(|broken| {
        let mut fault = broken.fault;
        let given = table::find(&fault.key).zip(lookup(&merged, &fault.key));
        fault.origin = given.map_or(Some(DEFAULT), |(_, value)| value.origin()).map(str::to_owned);
        if let Some((key, value)) = given
            && !broken.of_an_item
        {
            fault.value = read::shown(key, value).or(fault.value);
        }
        fault
    }));
    // what belongs to no key comes first
    faults.sort_by_key(|fault| table::position(&fault.key));
    if faults.is_empty() { Ok(config) } else { Err(ConfigFaults::new(faults)) }
}

/// Every rule that `config` breaks, that of the log's filter included.
pub fn check(config: &Config) -> Vec<Fault> {
    broken(config).into_iter().map(|broken| broken.fault).collect()
}

fn broken(config: &Config) -> Vec<Violation> {
    let mut broken = check::broken(config);
    broken.extend(log::broken(config));
    broken.sort_by_key(|broken| table::position(&broken.fault.key));
    broken
}

/// The known keys of one source, each value with its origin.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    fn insert(&mut self, key: &Key, origin: &str, kind: impl Into<ValueKind>) {
        self.0.insert(key.name.into(), Value::new(Some(&origin.to_owned()), kind));
    }
}

fn merge(layers: [Layer; 3]) -> Result<Map<String, Value>, ConfigError> {
    let [file, environment, overrides] = layers;
    let mut builder = ::config::Config::builder().add_source(file).add_source(environment);
    for (key, value) in overrides.0 {
        builder = builder.set_override(key, value)?;
    }
    builder.build()?.collect()
}

/// The merged value of `section.key`, if any source gave one.
fn lookup<'a>(merged: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    match name.split_once('.') {
        None => merged.get(name),
        Some((section, rest)) => match &merged.get(section)?.kind {
            ValueKind::Table(table) => table.get(rest),
            _ => None,
        },
    }
}

/// Nothing if the file is unusable as a whole.
fn from_file(path: &Path, faults: &mut Vec<Fault>) -> Option<Layer> {
    let name = path.display().to_string();
    let mut layer = Layer::default();
    let table = std::fs::read(path)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8".into()))
        .and_then(|text| {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            let parsed = FileFormat::Toml.parse(Some(&name), text);
            parsed.map_err(|error| format!("is not TOML: {}", without_excerpt(&error.to_string())))
        });
    match table {
        Ok(table) => {
            keep_known(table, "", &name, &mut layer, faults);
            Some(layer)
        }
        Err(problem) => {
            faults.push(fault(&name, None, None, problem));
            None
        }
    }
}

/// Moves what the table of keys knows into the layer; the rest are faults. Values of unknown keys
/// are not shown: a password in the wrong place is still a password.
fn keep_known(
    table: Map<String, Value>,
    prefix: &str,
    file: &str,
    layer: &mut Layer,
    faults: &mut Vec<Fault>,
) {
    let mut entries: Vec<(String, Value)> = table.into_iter().collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, value) in entries {
        let path = format!("{prefix}{name}");
        let section = format!("{path}.");
        let is_section = KEYS.iter().any(|key| key.name.starts_with(&section));
        match (table::find(&path), value.kind) {
            (Some(key), ValueKind::Table(_)) => {
                let problem = match key.field {
                    Field::DelayExchanges(_) | Field::RetryPolicies(_) => {
                        format!("needs two brackets: [[{path}]]")
                    }
                    _ => format!("is not a section; must be {}", key.expected()),
                };
                faults.push(fault(&path, None, Some(file), problem));
            }
            (Some(key), kind) => layer.insert(key, file, kind),
            (None, ValueKind::Table(inner)) if is_section => {
                keep_known(inner, &section, file, layer, faults);
            }
            (None, _) if is_section => {
                let problem = format!("is a section; write [{path}] and its keys below");
                faults.push(fault(&path, None, Some(file), problem));
            }
            (None, kind) => {
                let problem = match (prefix, kind) {
                    ("", ValueKind::Table(_)) => unknown_section(&path),
                    _ => unknown_key(&path),
                };
                faults.push(fault(&printable(&path), None, Some(file), problem));
            }
        }
    }
}

/// Looks each key up by its variable's name, so that `_` is never taken for a dot.
fn from_environment(variables: &[(String, String)], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    for key in KEYS {
        let long = key.long_variable();
        let short = key.short_variable.unwrap_or(&long);
        let value = |name: &str| {
            variables.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
        };
        match (value(short), value(&long)) {
            (Some(one), Some(other)) if one != other => {
                let problem = format!("differs from {long}; set one of them");
                faults.push(fault(key.name, None, Some(short), problem));
            }
            (Some(value), _) => layer.insert(key, short, value),
            (None, Some(value)) => layer.insert(key, &long, value),
            (None, None) => {}
        }
    }
    let mut unknown: Vec<&String> =
        variables.iter().map(|(name, _)| name).filter(|name| is_unknown_variable(name)).collect();
    unknown.sort();
    unknown.dedup();
    faults.extend(unknown.into_iter().map(|name| {
        let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
        let problem = match closest(name, known.iter().map(String::as_str)) {
            Some(meant) => format!("unknown variable; did you mean {meant}?"),
            None => "unknown variable; no key has this name".into(),
        };
        fault(&printable(name), None, Some("environment"), problem)
    }));
    layer
}

/// Those of the scripts, by how they begin.
const OF_SCRIPTS: [&str; 4] =
    ["DORMOUSE_TEST_", "DORMOUSE_BROKERS", "DORMOUSE_CLIENTS", "DORMOUSE_STORES"];

/// `DORMOUSE_CONFIG` names the file.
fn is_unknown_variable(name: &str) -> bool {
    name.starts_with("DORMOUSE_")
        && name != "DORMOUSE_CONFIG"
        && !OF_SCRIPTS.iter().any(|begin| name.starts_with(begin))
        && !KEYS.iter().any(|key| key.variable() == *name || key.long_variable() == *name)
}

fn from_overrides(overrides: &[(String, String)], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Layer::default();
    for (name, value) in overrides {
        match table::find(name) {
            Some(key) => layer.insert(key, COMMAND_LINE, value.as_str()),
            None => {
                faults.push(fault(&printable(name), None, Some(COMMAND_LINE), unknown_key(name)));
            }
        }
    }
    layer
}

fn unknown_key(path: &str) -> String {
    match closest(path, KEYS.iter().map(|key| key.name)) {
        Some(meant) => format!("unknown key; did you mean {meant}?"),
        None => "unknown key; docs/configuration.md has them all".into(),
    }
}

fn unknown_section(name: &str) -> String {
    let sections = KEYS.iter().map(|key| key.name.split('.').next().unwrap_or_default());
    match closest(name, sections) {
        Some("delay_exchange") => "unknown section; did you mean [[delay_exchange]]?".into(),
        Some(meant) => format!("unknown section; did you mean [{meant}]?"),
        None => "unknown section".into(),
    }
}

fn fault(key: &str, value: Option<String>, origin: Option<&str>, problem: String) -> Fault {
    Fault { key: key.into(), value, origin: origin.map(str::to_owned), problem }
}

/// A name that was typed by someone, fit for one line.
fn printable(name: &str) -> String {
    cut(&name.escape_debug().to_string())
}

/// The TOML parser's message without the line it quotes, which may hold a password.
fn without_excerpt(message: &str) -> String {
    let quoted = |line: &&str| {
        !line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|')
    };
    let kept: Vec<&str> = message.lines().filter(quoted).collect();
    kept.join(": ").replace("TOML parse error at ", "")
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
