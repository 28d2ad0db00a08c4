//! What an operator reads when a section of the configuration is wrong, word for word.

use crate::config_faults::{assert_text, faults};

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
