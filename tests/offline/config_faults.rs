//! What an operator reads when the configuration is wrong: each kind of fault, word for word.

use std::path::Path;
use std::time::Duration;

use dormouse::config::{Config, ConfigFaults, DelayExchange, Sources, Uri};

/// The faults of a file, of variables and of flags; the file's folder is cut from the text.
fn faults(name: &str, toml: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
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
fn assert_text(actual: &str, expected: &str) {
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
fn uris() {
    let toml = r#"
[broker]
uri = [
  "amqp://u:se/cret@host/shop",
  "amqp://u:secret@host:port/shop",
  "amqp://u:secret",
  "amqp://u:secret@",
  "amqp://u:secret@host/",
  "amqp://u:100%@host/shop",
  "amqp://u:sec ret@host/shop",
  "amqp://host/shop",
  "amqp://host/mail",
  "host",
]
"#;
    assert_text(
        &faults("uris", toml, &[], &[]),
        r##"
broker.uri = "amqp://u:***@host/shop" (uris.toml): has / ? # or @ in the wrong place; write %2F %3F %23 %40
broker.uri = "amqp://u:***@host:***" (uris.toml): has a port that is no number up to 65535, or lacks its @host
broker.uri = "amqp://u:***" (uris.toml): has a port that is no number up to 65535, or lacks its @host
broker.uri = "amqp://u:***@" (uris.toml): names no host
broker.uri = "amqp://u:***@host/" (uris.toml): names the empty virtual host; drop the last / or write /%2F
broker.uri = "amqp://u:***@host/shop" (uris.toml): has a % that starts no UTF-8 character; write %25 for %
broker.uri = "amqp://u:***@host/shop" (uris.toml): has a space or control character; percent-encode it
broker.uri = "(not a URI)" (uris.toml): must start with amqp:// or amqps://
broker.uri (uris.toml): all nodes must name one virtual host, not "", "mail", "shop"
"##,
    );
}

#[test]
fn uri_options() {
    let toml = r#"
[broker]
management_uri = "http://host:15672?x"
uri = [
  "amqp://u:secret@host?hearbeat=5",
  "amqp://host?heartbeat=5&connection_timeout=5000&auth_mechanism=EXTERNAL",
  "amqps://host?cacertfile=/ca.pem&verify=verify_none&password=secret",
  "amqp://host?frame_max=8192&channel_max=16",
  "amqp://host?frame_max=0",
  "amqp://host?frame_max=8191",
  "amqp://host?frame_max=big&channel_max=65536&auth_mechanism=digest",
  "amqp://host?colour=blue&frame_maks=1",
  "amqp://host?secret",
]
"#;
    assert_text(
        &faults("options", toml, &[], &[]),
        r##"
broker.uri = "amqp://u:***@host?hearbeat=***" (options.toml): has an unknown option hearbeat; did you mean heartbeat? broker.heartbeat sets it
broker.uri = "amqp://host?heartbeat=5&connection_timeout=5000&a… (options.toml): has the option heartbeat, which has no effect here; set broker.heartbeat
broker.uri = "amqp://host?heartbeat=5&connection_timeout=5000&a… (options.toml): has the option connection_timeout, which has no effect here; set broker.connect_timeout
broker.uri = "amqps://host?cacertfile=/ca.pem&verify=verify_non… (options.toml): has the option cacertfile, which has no effect here; set broker.ca_file
broker.uri = "amqps://host?cacertfile=/ca.pem&verify=verify_non… (options.toml): has the option verify, which has no effect here: certificates and host names are always verified
broker.uri = "amqps://host?cacertfile=/ca.pem&verify=verify_non… (options.toml): has the option password, which has no effect here: certificates and host names are always verified
broker.uri = "amqp://host?frame_max=8191" (options.toml): has a frame_max that is too small; take 8192 or more, or leave it out
broker.uri = "amqp://host?frame_max=big&channel_max=65536&auth_… (options.toml): has a frame_max that is no whole number of bytes up to 4294967295
broker.uri = "amqp://host?frame_max=big&channel_max=65536&auth_… (options.toml): has a channel_max that is no whole number up to 65535
broker.uri = "amqp://host?frame_max=big&channel_max=65536&auth_… (options.toml): has an unknown auth_mechanism; known are amqplain, anonymous, external, plain, rabbit-cr-demo
broker.uri = "amqp://host?colour=***&frame_maks=***" (options.toml): has an unknown option colour; known are auth_mechanism, channel_max, frame_max
broker.uri = "amqp://host?colour=***&frame_maks=***" (options.toml): has an unknown option frame_maks; did you mean frame_max?
broker.uri = "amqp://host?***" (options.toml): has a ? with something behind it that is no option=value; write %3F for ?
broker.management_uri = "http://host:15672?***" (options.toml): has a ?, which has no meaning here; write %3F in a password
"##,
    );
}

#[test]
fn certificates() {
    let toml = r#"
[broker]
ca_file = "/nonexistent/ca.pem"
cert_file = "/"
"#;
    assert_text(
        &faults("certificates", toml, &[], &[]),
        r##"
broker.ca_file = "/nonexistent/ca.pem" (certificates.toml): cannot be read: No such file or directory (os error 2)
broker.ca_file = "/nonexistent/ca.pem" (certificates.toml): is of no use without an amqps:// or https:// URI
broker.cert_file = "/" (certificates.toml): is not a file
broker.cert_file = "/" (certificates.toml): needs broker.key_file too
"##,
    );
    let toml = "[broker]\nkey_file = '/etc/passwd'\n";
    assert_text(
        &faults("key", toml, &[], &[]),
        r##"
broker.key_file = "/etc/passwd" (key.toml): needs broker.cert_file too
"##,
    );
    let toml = "[broker]\nkey_file = '/etc/passwd'\ncert_file = '/etc/passwd'\n";
    assert_text(
        &faults("both", toml, &[], &[]),
        r##"
broker.cert_file = "/etc/passwd" (both.toml): is of no use without an amqps:// URI in broker.uri
"##,
    );
}

#[test]
fn topology() {
    let toml =
        "[topology]\nnamespace = 'amq.mouse'\nunit = '1ms'\nradix = 256\nmax_delay = '10y'\n";
    assert_text(
        &faults("topology", toml, &[], &[]),
        r##"
topology.namespace = "amq.mouse" (topology.toml): must be 1 to 60 of A-Z a-z 0-9 . _ - and not start with amq.
topology.max_delay = "10y" (topology.toml): needs 1093 level queues, more than 1000; use a larger unit or a smaller radix
"##,
    );
    let toml = "[topology]\nunit = '2s'\nmax_delay = '1s'\n[attempts]\ninitial_backoff = '20m'\n";
    assert_text(
        &faults("between", toml, &[], &[]),
        r##"
topology.max_delay = "1s" (between.toml): must be at least topology.unit, 2s
attempts.initial_backoff = "20m" (between.toml): must be at most attempts.max_backoff, 10m
attempts.max_backoff = "10m" (default): must be at most topology.max_delay, 1s
"##,
    );
}

#[test]
fn delay_exchanges() {
    let toml = r#"
[[delay_exchange]]
name = "self"
target_exchange = "self"
[[delay_exchange]]
name = "other"
target_exchange = "self"
[[delay_exchange]]
name = "other"
target_exchange = "amq.topic"
[[delay_exchange]]
name = "dormouse.retry"
target_exchange = "dormouse.v1.due"
[[delay_exchange]]
name = ""
target_exchange = ""
[targets]
header_exchanges = ["orders", "self", "amq.direct", "dormouse.delay", "tab\t"]
queues = ["("]
"#;
    assert_text(
        &faults("exchanges", toml, &[], &[]),
        r##"
delay_exchange = "self" (exchanges.toml): targets itself
delay_exchange = "other" (exchanges.toml): target "self" is a delay exchange; a message would go round in circles
delay_exchange = "other" (exchanges.toml): is configured twice
delay_exchange = "other" (exchanges.toml): target "amq.topic" starts with amq., which RabbitMQ keeps for itself
delay_exchange = "dormouse.retry" (exchanges.toml): may not start with dormouse., only dormouse.delay may
delay_exchange = "dormouse.retry" (exchanges.toml): target "dormouse.v1.due" is a name of ours, dormouse.…
delay_exchange = "" (exchanges.toml): a delay exchange needs a name
targets.header_exchanges = "self" (exchanges.toml): is a delay exchange; a message would go round in circles
targets.header_exchanges = "amq.direct" (exchanges.toml): starts with amq., which RabbitMQ keeps for itself
targets.header_exchanges = "dormouse.delay" (exchanges.toml): is a name of ours, dormouse.…
targets.queues = "(" (exchanges.toml): is not a regular expression: unclosed group
"##,
    );
    let toml = r#"
[[delay_exchange]]
name = "no.target"
[[delay_exchange]]
target_exchange = "no name"
[[delay_exchange]]
name = "orders.delay"
target = "orders"
[[delay_exchange]]
name = 5
target_exchange = ""
"#;
    assert_text(
        &faults("tables", toml, &[], &[]),
        r##"
delay_exchange (tables.toml): entry 1 has no target_exchange; "" is the default exchange
delay_exchange (tables.toml): entry 2 has no name; write the exchange that clients publish to
delay_exchange (tables.toml): entry 3 has an unknown key "target"; known are name and target_exchange
delay_exchange (tables.toml): entry 3 has no target_exchange; "" is the default exchange
delay_exchange (tables.toml): entry 4: name must be an exchange name
"##,
    );
    let variables = [("DORMOUSE_DELAY_EXCHANGES", "orders.delay=orders,mail.delay,a=b=c")];
    assert_text(
        &faults("pairs", "", &variables, &[]),
        r##"
delay_exchange = "mail.delay" (DORMOUSE_DELAY_EXCHANGES): must be name=target; nothing after = is the default exchange
delay_exchange = "a=b=c" (DORMOUSE_DELAY_EXCHANGES): must be name=target; nothing after = is the default exchange
"##,
    );
}

#[test]
fn retry() {
    let toml = r#"
[retry]
max_retries = -1
initial_backoff = "2h"
ladder = ["2m", 5]
reasons = ["rejected", "boredom"]
max_age = "0s"

[[retry.policies]]
queues = "^mail("

[[retry.policies]]
queues = "^both$"
ladder = ["1s"]
max_retries = 3

[[retry.policies]]
queues = "^long$"
initial_backoff = "5h"
"#;
    assert_text(
        &faults("retry", toml, &[], &[]),
        r##"
retry.max_retries = -1 (retry.toml): must be a whole number of retries, at least 0
retry.initial_backoff = "2h" (retry.toml): must be at most retry.max_backoff, 1h
retry.ladder (retry.toml): has no unit; write "5s" for seconds or "5ms" for milliseconds
retry.max_age = "0s" (retry.toml): must be a duration, 1ms to 3650d
retry.reasons (retry.toml): "boredom" is no reason; must be a list of rejected, expired, maxlen, delivery_limit
retry.policies = "^mail(" (retry.toml): is not a regular expression: unclosed group
retry.policies = "^both$" (retry.toml): has a ladder and max_retries; the ladder alone would count
retry.policies = "^long$" (retry.toml): has an initial_backoff longer than its max_backoff
"##,
    );
    let toml = r#"
[[retry.policies]]
ladder = "2m 10m"
tries = 7

[[retry.policies]]
queues = 5
jitter = 2
reasons = "rejected, expired, other"
max_backoff = 10
"#;
    assert_text(
        &faults("retry-policies", toml, &[("DORMOUSE_RETRY_POLICIES", "^mail=3")], &[]),
        r##"
retry.policies = "^mail=3" (DORMOUSE_RETRY_POLICIES): must be tables, each under its own [[retry.policies]] in the file
"##,
    );
    assert_text(
        &faults("retry-tables", toml, &[], &[]),
        r##"
retry.policies (retry-tables.toml): entry 1 has no queues; write a pattern of the queues it is for
retry.policies (retry-tables.toml): entry 1: ladder is not a duration; write for example "250ms", "90s", "2h30m" or "365d"
retry.policies (retry-tables.toml): entry 1 has an unknown key "tries"; known are queues, max_retries, initial_backoff, multiplier, max_backoff, ladder, jitter, max_age and reasons
retry.policies (retry-tables.toml): entry 2: jitter must be a number, 0 to 1
retry.policies (retry-tables.toml): entry 2: max_backoff has no unit; write "10s" for seconds or "10ms" for milliseconds
retry.policies (retry-tables.toml): entry 2: queues must be a regular expression
retry.policies (retry-tables.toml): entry 2: reasons "other" is no reason; must be a list of rejected, expired, maxlen, delivery_limit
"##,
    );
    assert_text(
        &faults("retry-section", "[retry.policies]\nqueues = 'x'\n", &[], &[]),
        r##"
retry.policies (retry-section.toml): needs two brackets: [[retry.policies]]
"##,
    );
}

#[test]
fn log() {
    let typo = faults("log-typo", "", &[("DORMOUSE_LOG_FILTER", "inof")], &[]);
    assert_text(
        &typo,
        r##"
log.filter = "inof" (DORMOUSE_LOG_FILTER): "inof" is no level; write error, warn, info, debug, trace, off or name=level
"##,
    );
    let loud = faults("log-loud", "", &[], &[("log.filter", "info,dormouse=loud")]);
    assert_text(
        &loud,
        r##"
log.filter = "info,dormouse=loud" (command line): is not a filter: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
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
