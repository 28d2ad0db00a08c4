//! What an operator reads when the configuration is wrong: each kind of fault, word for word. Those of one section
//! are in `config_sections`.

use std::path::Path;
use std::time::Duration;

use dormouse::config::{Config, ConfigFaults, DelayExchange, Sources, Uri};

/// The faults of a file, of variables and of flags; the file's folder is cut from the text.
pub fn faults(
    name: &str,
    toml: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{name}.toml"));
    std::fs::write(&path, toml).unwrap();
    let owned = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let sources =
        Sources { file: Some(path), environment: owned(variables), overrides: owned(flags) };
    let faults = dormouse::config::load(sources).expect_err("faults");
    let faults = faults.faults().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    faults.replace(&format!("{}/", folder.display()), "")
}

#[track_caller]
pub fn assert_text(actual: &str, expected: &str) {
    assert!(actual == expected.trim(), "\n--- actual\n{actual}\n--- expected\n{expected}");
}

#[test]
fn values() {
    let toml = r#"
[broker]
uri = "redis://u:secret@host"
management_uri = 15672
ca_file = true
connect_timeout = 5
heartbeat = "1.5s"
[topology]
version = 0
unit = "2m"
radix = 1.5
max_delay = "11y"
queue_type = "stream"
declare = "maybe"
[targets]
queues = [1]
[hold]
max_messages = 70000
max_bytes = "256MiB"
margin = "1.0005s"
[attempts]
initial_backoff = "-1s"
multiplier = 0.5
jitter = nan
max_backoff = "1mo"
[http]
listen = "localhost:15790"
[stop]
grace = ""
[delivery]
confirm_timeout = "soon"
"#;
    assert_text(
        &faults("values", toml, &[], &[]),
        r##"
broker.uri = "redis://u:***@host" (values.toml): must start with amqp:// or amqps://
broker.management_uri (values.toml): must be an http:// or https:// URI, or "" to guess
broker.ca_file = true (values.toml): must be a readable file, or "" for none
broker.connect_timeout = 5 (values.toml): has no unit; write "5s" for seconds or "5ms" for milliseconds
broker.heartbeat = "1.5s" (values.toml): must be a multiple of 1s
topology.version = 0 (values.toml): must be a whole number, 1 to 1000
topology.unit = "2m" (values.toml): must be a duration, 1ms to 1m
topology.radix = 1.5 (values.toml): must be a whole number, 2 to 256
topology.max_delay = "11y" (values.toml): must be a duration, 1ms to 3650d
topology.queue_type = "stream" (values.toml): must be "quorum" or "classic"
topology.declare = "maybe" (values.toml): must be true or false
targets.queues (values.toml): must be regular expressions, a list or separated by commas
hold.max_messages = 70000 (values.toml): must be a whole number of messages, 1 to 65535
hold.max_bytes = "256MiB" (values.toml): must be a whole number of bytes, at least 1048576
hold.margin = "1.0005s" (values.toml): must be a multiple of 1ms
delivery.confirm_timeout = "soon" (values.toml): is not a duration; write for example "250ms", "90s", "2h30m" or "365d"
attempts.initial_backoff = "-1s" (values.toml): is negative; a duration starts at 0s
attempts.multiplier = 0.5 (values.toml): must be a number, at least 1
attempts.max_backoff = "1mo" (values.toml): has months, which differ in length; write days
attempts.jitter = NaN (values.toml): must be a number, 0 to 1
http.listen = "localhost:15790" (values.toml): must be an IP address and port, or "" for nowhere
stop.grace = "" (values.toml): is empty; write a duration such as "250ms", "90s", "2h30m" or "365d"
"##,
    );
}

#[test]
fn names() {
    let toml = r#"
broker = "amqp://u:secret@host"
max_delay = "1d"
[topolgy]
unit = "1s"
[topology]
max-delay = "1d"
unit = { seconds = 1 }
[wholly.unrelated]
thing = "secret"
[delay_exchange]
name = "orders.delay"
"#;
    let variables = [("DORMOUSE_TOPOLOGY_MAXDELAY", "1d"), ("DORMOUSE_PASSWORD", "secret")];
    let flags = [("hold.margins", "1s")];
    assert_text(
        &faults("names", toml, &variables, &flags),
        r##"
broker (names.toml): is a section; write [broker] and its keys below
max_delay (names.toml): unknown key; did you mean topology.max_delay?
topolgy (names.toml): unknown section; did you mean [topology]?
topology.max-delay (names.toml): unknown key; did you mean topology.max_delay?
wholly (names.toml): unknown section
DORMOUSE_PASSWORD (environment): unknown variable; no key has this name
DORMOUSE_TOPOLOGY_MAXDELAY (environment): unknown variable; did you mean DORMOUSE_TOPOLOGY_MAX_DELAY?
hold.margins (command line): unknown key; did you mean hold.margin?
topology.unit (names.toml): is not a section; must be a duration, 1ms to 1m
delay_exchange (names.toml): needs two brackets: [[delay_exchange]]
"##,
    );
}

#[test]
fn origins() {
    let toml = "[topology]\nunit = '1h'\nradix = 1\nversion = 0\n";
    let variables = [
        ("DORMOUSE_TOPOLOGY_RADIX", "1000"),
        ("DORMOUSE_TOPOLOGY_VERSION", "two"),
        ("DORMOUSE_URI", "amqp://a"),
        ("DORMOUSE_BROKER_URI", "amqp://b"),
        ("DORMOUSE_MANAGEMENT_URI", "amqp://u:secret@host"),
    ];
    let flags = [("topology.version", "zero"), ("topology.max_delay", "1m")];
    assert_text(
        &faults("origins", toml, &variables, &flags),
        r##"
broker.uri (DORMOUSE_URI): differs from DORMOUSE_BROKER_URI; set one of them
broker.management_uri = "amqp://u:***@host" (DORMOUSE_MANAGEMENT_URI): must start with http:// or https://
topology.version = "zero" (command line): must be a whole number, 1 to 1000
topology.unit = "1h" (origins.toml): must be a duration, 1ms to 1m
topology.radix = "1000" (DORMOUSE_TOPOLOGY_RADIX): must be a whole number, 2 to 256
attempts.max_backoff = "10m" (default): must be at most topology.max_delay, 1m
"##,
    );
}

#[test]
fn files() {
    let broken = "[broker]\nuri = \"amqp://u:secret@host\n";
    assert_text(
        &faults("broken", broken, &[("DORMOUSE_HOLD_MARGIN", "1m")], &[]),
        r##"
broken.toml: is not TOML: line 2, column 28: invalid basic string, expected `"`
hold.margin = "1m" (DORMOUSE_HOLD_MARGIN): must be a duration, 0s to 10s
"##,
    );
    // what the file would have said is unknown, so this flag is not judged by the default URI
    let flags = [("broker.cert_file", "/etc/passwd"), ("broker.key_file", "/etc/passwd")];
    assert_text(
        &faults("broken", broken, &[], &flags),
        r##"
broken.toml: is not TOML: line 2, column 28: invalid basic string, expected `"`
"##,
    );
    let twice = "[hold]\nmargin = '1s'\nmargin = '1s'\n";
    assert_text(
        &faults("twice", twice, &[], &[]),
        r##"
twice.toml: is not TOML: line 3, column 1: duplicate key
"##,
    );
    let large = "[hold]\nmax_bytes = 99999999999999999999\n";
    assert_text(
        &faults("large", large, &[], &[]),
        r##"
large.toml: is not TOML: number too large to fit in target type
"##,
    );
    let missing = Sources { file: Some("nowhere.toml".into()), ..Sources::default() };
    assert_text(
        &dormouse::config::load(missing).unwrap_err().to_string(),
        r##"
the configuration has 1 fault:
  nowhere.toml: cannot be read: No such file or directory (os error 2)
"##,
    );
}

/// All together as the command line prints them, folded at 80 columns.
#[test]
fn at_80_columns() {
    let environment = [
        ("DORMOUSE_DELIVERY_AVOID_FAILED_EXCHANGE", "5"),
        ("DORMOUSE_TOPOLOGY_MAXDELAY", "1d"),
        ("DORMOUSE_URI", "amqp://dormouse:se/cret@rabbit-1.internal:5672/shop"),
        ("DORMOUSE_HOLD_MAX_MESSAGES", "0"),
    ];
    let environment = environment.map(|(name, value)| (name.to_string(), value.to_string())).into();
    let faults: ConfigFaults =
        dormouse::config::load(Sources { environment, ..Sources::default() }).unwrap_err();
    assert_text(
        &faults.to_string(),
        r##"
the configuration has 4 faults:
  DORMOUSE_TOPOLOGY_MAXDELAY (environment): unknown variable; did you mean
      DORMOUSE_TOPOLOGY_MAX_DELAY?
  broker.uri = "amqp://dormouse:***@rabbit-1.internal:5672/shop" (DORMOUSE_URI):
      has / ? # or @ in the wrong place; write %2F %3F %23 %40
  hold.max_messages = "0" (DORMOUSE_HOLD_MAX_MESSAGES): must be a whole number
      of messages, 1 to 65535
  delivery.avoid_failed_exchange = "5"
      (DORMOUSE_DELIVERY_AVOID_FAILED_EXCHANGE): has no unit; write "5s" for
      seconds or "5ms" for milliseconds
"##,
    );
    assert!(faults.to_string().lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn a_configuration_that_was_not_loaded_is_checked_too() {
    let mut config = Config::default();
    config.broker.uri = vec![Uri::new("amqp://u:secret@host/")];
    config.hold.max_messages = 0;
    config.topology.unit = Duration::from_micros(1_500);
    config.delay_exchanges.push(DelayExchange { name: "a".into(), target_exchange: "a".into() });
    config.attempts.multiplier = f64::NAN;
    let faults: Vec<String> = config.check().iter().map(ToString::to_string).collect();
    assert_text(
        &faults.join("\n"),
        r##"
broker.uri = "amqp://u:***@host/": names the empty virtual host; drop the last / or write /%2F
topology.unit = "1ms500us": must be a multiple of 1ms
delay_exchange = "a": targets itself
hold.max_messages = 0: must be a whole number of messages, 1 to 65535
attempts.multiplier = NaN: must be a number, at least 1
"##,
    );
}
