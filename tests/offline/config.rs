//! Configuration: who wins, and what the reference says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dormouse::config::{
    Config, ConfigFaults, DeadLetterReason, DelayExchange, KEYS, RetryOverride, Sources, Uri,
    durations, key_table, level_queue_count,
};

pub fn file(name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{name}.toml"));
    std::fs::write(&path, content).unwrap();
    path
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub fn from_toml(name: &str, toml: &str) -> Result<Config, ConfigFaults> {
    dormouse::config::load(Sources { file: Some(file(name, toml)), ..Sources::default() })
}

pub fn from_variables(variables: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
    dormouse::config::load(Sources { environment: pairs(variables), ..Sources::default() })
}

pub fn exchange(name: &str, target: &str) -> DelayExchange {
    DelayExchange { name: name.into(), target_exchange: target.into() }
}

#[test]
fn without_sources_the_defaults_stand_and_break_no_rule() {
    let config = dormouse::config::load(Sources::default()).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.check(), []);
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let toml = "[topology]\nversion = 2\nradix = 3\nmax_delay = \"3d\"\n";
    let config = dormouse::config::load(Sources {
        file: Some(file("layers", toml)),
        environment: pairs(&[
            ("DORMOUSE_TOPOLOGY_VERSION", "4"),
            ("DORMOUSE_TOPOLOGY_MAX_DELAY", "5d"),
        ]),
        overrides: pairs(&[("topology.version", "6")]),
    })
    .unwrap();
    assert_eq!(config.topology.version, 6);
    assert_eq!(config.topology.max_delay, Duration::from_secs(5 * 24 * 3600));
    assert_eq!(config.topology.radix, 3);
    assert_eq!(config.topology.unit, Config::default().topology.unit);
}

#[test]
fn a_list_replaces_a_list() {
    let sources = |environment| Sources {
        file: Some(file("lists", "[targets]\nqueues = ['^a', '^b,c']\nheader_exchanges = ['x']\n")),
        environment,
        ..Sources::default()
    };
    let config = dormouse::config::load(sources(Vec::new())).unwrap();
    assert_eq!(config.targets.queues, ["^a", "^b,c"]);
    let config = dormouse::config::load(sources(pairs(&[
        ("DORMOUSE_TARGETS_QUEUES", "^d, ^e"),
        ("DORMOUSE_TARGETS_HEADER_EXCHANGES", ""),
    ])))
    .unwrap();
    assert_eq!(config.targets.queues, ["^d", "^e"]);
    assert!(config.targets.header_exchanges.is_empty());
}

#[test]
fn broker_uri_is_a_list_or_one_string_and_passwords_have_commas() {
    let nodes = ["amqp://u:a,b@one/shop", "amqp://u:a,b@two/shop"].map(Uri::new);
    let toml = "[broker]\nuri = ['amqp://u:a,b@one/shop', 'amqp://u:a,b@two/shop']\n";
    assert_eq!(from_toml("uris", toml).unwrap().broker.uri, nodes);
    for variable in ["DORMOUSE_URI", "DORMOUSE_BROKER_URI"] {
        let value = "amqp://u:a,b@one/shop, amqp://u:a,b@two/shop";
        assert_eq!(from_variables(&[(variable, value)]).unwrap().broker.uri, nodes);
    }
}

#[test]
fn variables_of_scripts_and_strangers_are_ignored() {
    let config = from_variables(&[
        ("DORMOUSE_CONFIG", "elsewhere.toml"),
        ("DORMOUSE_TEST_URI", "x"),
        ("DORMOUSE_BROKERS", "x"),
        ("DORMOUSE_BROKERS_DIR", "x"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(config.unwrap(), Config::default());
}

#[test]
fn the_default_delay_exchange_is_always_there_and_first() {
    let config = from_variables(&[("DORMOUSE_DELAY_EXCHANGES", "a.delay=a,b.delay=")])
        .unwrap()
        .delay_exchanges;
    let expected =
        [exchange("dormouse.delay", ""), exchange("a.delay", "a"), exchange("b.delay", "")];
    assert_eq!(config, expected);

    let own = from_variables(&[("DORMOUSE_TOPOLOGY_NAMESPACE", "acme")]).unwrap().delay_exchanges;
    assert_eq!(own, [exchange("acme.delay", "")]);

    let toml = "[[delay_exchange]]\nname = 'a.delay'\ntarget_exchange = 'a'\n\
                [[delay_exchange]]\nname = 'dormouse.delay'\ntarget_exchange = 'work'\n";
    let retargeted = from_toml("retargeted", toml).unwrap().delay_exchanges;
    assert_eq!(retargeted, [exchange("dormouse.delay", "work"), exchange("a.delay", "a")]);
}

#[test]
fn empty_means_none() {
    let config = from_variables(&[
        ("DORMOUSE_HTTP_LISTEN", ""),
        ("DORMOUSE_MANAGEMENT_URI", ""),
        ("DORMOUSE_BROKER_CA_FILE", ""),
    ])
    .unwrap();
    assert_eq!((config.http.listen, config.broker.management_uri), (None, None));
    assert_eq!(config.broker.ca_file, None);
}

#[test]
fn the_sample_file_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("topology/dormouse.toml");
    let config =
        dormouse::config::load(Sources { file: Some(path), ..Sources::default() }).unwrap();
    assert_eq!(config.delay_exchanges.len(), 3);
}

#[test]
fn the_reference_of_all_keys_is_not_stale() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let start = text.find("<!-- keys: begin").expect("the mark where the table begins");
    let start = start + text[start..].find('\n').unwrap() + 1;
    let end = text.find("<!-- keys: end").expect("the mark where the table ends");
    let fresh = format!("{}\n{}\n{}", &text[..start], key_table(), &text[end..]);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, fresh).unwrap();
    } else {
        assert!(text == fresh, "docs/configuration.md is stale: run with UPDATE_GOLDEN=1");
    }
}

#[test]
fn every_key_has_a_variable_of_its_own() {
    let mut variables: Vec<String> = KEYS.iter().map(|key| key.variable()).collect();
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), KEYS.len());
    assert!(variables.contains(&"DORMOUSE_TOPOLOGY_MAX_DELAY".to_string()));
}

#[test]
fn the_level_queues_are_counted() {
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let second = Duration::from_secs(1);
    // 31,536,000 = 0x1E13380: six full levels of 15 queues, and the digit 1
    assert_eq!(level_queue_count(second, 16, days(365)), 91);
    assert_eq!(level_queue_count(second, 2, days(365)), 25);
    assert_eq!(level_queue_count(second, 16, second), 1);
    assert_eq!(level_queue_count(second, 16, Duration::from_secs(15)), 15);
    assert_eq!(level_queue_count(second, 16, Duration::from_secs(16)), 16);
    assert_eq!(level_queue_count(Duration::from_millis(1), 256, days(3650)), 4 * 255 + 0x49);
}

#[test]
fn durations_are_read_in_every_unit() {
    let read = |text| durations::parse_duration(text).map(|duration| duration.as_millis());
    assert_eq!(read("250ms"), Ok(250));
    assert_eq!(read("2h30m"), Ok(9_000_000));
    assert_eq!(read("1.5h"), Ok(5_400_000));
    assert_eq!(read(" 1 day 2 hours "), Ok(93_600_000));
    assert_eq!(read("2w"), Ok(14 * 86_400_000));
    assert_eq!(read("365d"), read("1y"));
    assert_eq!(read("10y"), Ok(315_360_000_000));
    for refused in ["", "5", "1e3", "-5s", "5s ago", "1mo", "soon", "5 parsecs", "inf", "NaN"] {
        assert!(read(refused).is_err(), "{refused}");
    }
}

#[test]
fn durations_are_printed_short() {
    let print = |ms| durations::duration(Duration::from_millis(ms));
    assert_eq!(print(0), "0s");
    assert_eq!(print(250), "250ms");
    assert_eq!(print(64 * 60_000), "1h4m");
    assert_eq!(print(74 * 3_600_000), "3d2h");
    assert_eq!(print(93_784_005), "1d2h3m4s5ms");
    assert_eq!(durations::duration(Duration::from_nanos(1_002_003)), "1ms2us3ns");
}

#[test]
fn no_credential_is_shown() {
    for (uri, shown) in [
        ("amqp://guest:secret@host:5672/%2f", "amqp://guest:***@host:5672/%2f"),
        ("amqp://guest:se/cr?et@host/shop", "amqp://guest:***@host/shop"),
        ("amqp://guest:se#cr@et@host/shop", "amqp://guest:***@host/shop"),
        ("amqp://guest@host", "amqp://guest:***@host"),
        ("amqp://host:5672/shop", "amqp://host:5672/shop"),
        ("amqp://guest:secret", "amqp://guest:***"),
        ("amqp://guest:se/cret", "amqp://guest:***"),
        ("amqp://me@corp:secret", "amqp://me:***@corp:***"),
        ("amqp://[::1]:5672/shop", "amqp://[::1]:5672/shop"),
        ("amqp://u:secret@[::1]/shop", "amqp://u:***@[::1]/shop"),
        ("amqps://host/?heartbeat=5&password=secret", "amqps://host/?heartbeat=5&password=***"),
        ("amqps://host?secret", "amqps://host?***"),
        ("https://host/#secret", "https://host/"),
        ("guest:secret@host", "(not a URI)"),
        ("guest:secret@x://host", "(not a URI)"),
    ] {
        assert_eq!(Uri::new(uri).to_string(), shown);
        assert_eq!(format!("{:?}", Uri::new(uri)), shown);
        let config = from_variables(&[("DORMOUSE_URI", uri)]);
        let said = config.map_or_else(|faults| faults.to_string(), |config| config.to_toml());
        assert!(!said.contains("secret") && !said.contains("cret"), "{said}");
    }
}

#[test]
fn retry_policies_say_what_differs() {
    let toml = r#"
[retry]
max_retries = 4
reasons = ["rejected", "delivery_limit"]

[[retry.policies]]
queues = "^payments\\."
ladder = ["2m", "10m", "1h"]

[[retry.policies]]
queues = "^mail$"
max_retries = 0
jitter = 0
max_age = "1d"
"#;
    let config = from_toml("retry", toml).unwrap();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let payments = RetryOverride {
        queues: "^payments\\.".into(),
        ladder: Some([2, 10, 60].map(minutes).to_vec()),
        ..Default::default()
    };
    let mail = RetryOverride {
        queues: "^mail$".into(),
        max_retries: Some(0),
        jitter: Some(0.0),
        max_age: Some(minutes(24 * 60)),
        ..Default::default()
    };
    assert_eq!(config.retry.policies, [payments, mail]);
    assert_eq!(config.retry.max_retries, 4);
    let reasons = [DeadLetterReason::Rejected, DeadLetterReason::DeliveryLimit];
    assert_eq!(config.retry.reasons, reasons);
    let variables = [("DORMOUSE_RETRY_LADDER", "1s, 2m"), ("DORMOUSE_RETRY_REASONS", "expired")];
    let config = from_variables(&variables).unwrap();
    assert_eq!(config.retry.ladder, [Duration::from_secs(1), minutes(2)]);
    assert_eq!(config.retry.reasons, [DeadLetterReason::Expired]);
}

/// As the documents have them.
#[test]
fn a_ladder_may_have_a_name() {
    let of = |name: &str| from_variables(&[("DORMOUSE_RETRY_LADDER", name)]).unwrap().retry.ladder;
    let payment = ["2m", "10m", "10m", "1h", "2h", "6h", "15h"];
    let pauses = payment.map(|pause| dormouse::config::durations::parse_duration(pause).unwrap());
    assert_eq!(of("payment"), pauses);
    let levels = of(" rocketmq ");
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    assert_eq!((levels.len(), levels[0], levels[13]), (18, Duration::from_secs(1), minutes(10)));
    assert_eq!(levels[17], minutes(120));
    let typo = from_variables(&[("DORMOUSE_RETRY_LADDER", "payments")]).unwrap_err().to_string();
    assert!(typo.contains("retry.ladder"), "{typo}");
    let toml = "[[retry.policies]]\nqueues = \"^pay\"\nladder = \"payment\"\n";
    let config = from_toml("named", toml).unwrap();
    assert_eq!(config.retry.policies[0].ladder.as_deref(), Some(&pauses[..]));
}

#[test]
fn a_broken_line_of_toml_is_not_quoted() {
    let faults = from_toml("broken", "[broker]\nuri = \"amqp://u:secret@host\n").unwrap_err();
    assert!(!faults.to_string().contains("secret"), "{faults}");
}

#[test]
fn the_virtual_host_is_decoded() {
    let virtual_host = |uri| Uri::new(uri).virtual_host();
    assert_eq!(virtual_host("amqp://host").as_deref(), Some("/"));
    assert_eq!(virtual_host("amqp://host/%2f").as_deref(), Some("/"));
    assert_eq!(virtual_host("amqp://host/shop%20two?heartbeat=5").as_deref(), Some("shop two"));
    assert_eq!(virtual_host("amqp://host/").as_deref(), Some(""));
    assert_eq!(virtual_host("amqp://"), None);
}
