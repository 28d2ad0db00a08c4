//! Laws of configurations: what is printed reads as the same, and nothing that is read panics or shows a secret.

use std::path::Path;
use std::time::Duration;

use dormouse::config::{
    Census, Commands, Config, ConfigFaults, DeadLetterReason, Index, KEYS, Ledger, LogFormat,
    QueueType, Retry, RetryOverride, Sources, Uri, durations,
};
use proptest::prelude::*;

use crate::config::{exchange, file, from_toml, from_variables};

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..=315_360_000_000).prop_map(Duration::from_millis),
        (0_u64..100_000).prop_map(Duration::from_millis),
        (0_u64..7_000_000 * 86_400, 0_u32..1_000_000_000).prop_map(|(s, ns)| Duration::new(s, ns)),
    ]
}

fn retries() -> impl Strategy<Value = Retry> {
    let ms = |range: std::ops::RangeInclusive<u64>| range.prop_map(Duration::from_millis);
    let reasons = || prop::sample::subsequence(DeadLetterReason::ALL.to_vec(), 0..=4);
    let ladder = move || prop::collection::vec(ms(0..=100_000_000), 0..4);
    let policy = (
        "(\\\\[.dw]|[a-z\"^$]){0,6}",
        prop::option::of(any::<u32>()),
        prop::option::of(ms(0..=1_000)),
        prop::option::of(1.0_f64..1e30),
        prop::option::of(0.0_f64..=1.0),
        prop::option::of(ladder()),
        prop::option::of(ms(1..=1_000_000)),
        prop::option::of(reasons()),
    );
    let policy = policy.prop_map(
        |(queues, max_retries, initial_backoff, multiplier, jitter, ladder, max_age, reasons)| {
            let policy = RetryOverride { queues, jitter, max_age, reasons, ..<_>::default() };
            match ladder {
                // a ladder stands alone
                Some(_) => RetryOverride { ladder, ..policy },
                None => RetryOverride {
                    max_backoff: initial_backoff,
                    max_retries,
                    initial_backoff,
                    multiplier,
                    ..policy
                },
            }
        },
    );
    let all = (
        any::<u32>(),
        ms(0..=1_000),
        1.0_f64..1e30,
        ms(1_000..=1_000_000),
        ladder(),
        0.0_f64..=1.0,
        ms(1..=1_000_000),
        reasons(),
        prop::collection::vec(policy, 0..4),
    );
    all.prop_map(
        |(
            max_retries,
            initial_backoff,
            multiplier,
            max_backoff,
            ladder,
            jitter,
            max_age,
            reasons,
            policies,
        )| {
            Retry {
                max_retries,
                initial_backoff,
                multiplier,
                max_backoff,
                ladder,
                jitter,
                max_age,
                reasons,
                policies,
            }
        },
    )
}

/// Configurations without a secret that break no rule, all fields different from the defaults.
fn configs() -> impl Strategy<Value = Config> {
    let ms = |range: std::ops::RangeInclusive<u64>| range.prop_map(Duration::from_millis);
    let broker = (
        prop::option::of(Just(Uri::new("https://host:15671"))),
        any::<bool>(),
        ms(100..=600_000),
        1_u64..=600,
        ms(1..=600_000),
    );
    let topology = (
        "n[a-zA-Z0-9_-]{0,20}",
        1_u32..=1_000,
        ms(1_000..=60_000),
        2_u32..=64,
        ms(100_000_000..=315_360_000_000),
        any::<bool>(),
        any::<bool>(),
    );
    let exchanges = (
        prop::collection::btree_map("x\\.[ -~äö\"\\\\]{1,20}", "y\\.\\PC{0,20}", 0..3),
        prop::collection::vec("z\\.\\PC{0,20}", 0..3),
        prop::collection::vec("(\\\\[.dw]|[a-z\"^$]){0,6}", 0..3),
    );
    let limits = (1..u16::MAX, 1..u16::MAX, 1_048_576..i64::MAX as u64, 1..u16::MAX);
    let pauses = (ms(0..=10_000), ms(1..=600_000), ms(0..=600_000), ms(0..=600_000));
    let attempts = (1..u32::MAX, ms(0..=1_000), 1.0_f64..1e30, ms(1_000..=100_000), 0.0_f64..=1.0);
    let commands = (any::<bool>(), 1_000..=2_000_000_u32, ms(60_000..=2_592_000_000));
    let commands =
        commands.prop_map(|(enabled, max_keys, memory)| Commands { enabled, max_keys, memory });
    let index = (prop::option::of("/[a-z. \"]{1,20}[a-z]"), ms(60_000..=9_000_000), any::<bool>());
    let index = index.prop_map(|(file, history, never)| Index {
        file: file.map(Into::into),
        history,
        census: if never { Census::Never } else { Census::Auto },
    });
    let address = prop::option::of(any::<(std::net::IpAddr, u16)>());
    let ages = (60..=315_360_000_u64).prop_map(Duration::from_secs);
    let ledger = (any::<bool>(), ages, 128_000_000..i64::MAX as u64);
    let ledger =
        ledger.prop_map(|(enabled, max_age, max_bytes)| Ledger { enabled, max_age, max_bytes });
    let rest = (address, any::<bool>(), any::<bool>(), commands, (ledger, index));
    (broker, topology, exchanges, limits, pauses, attempts, rest, retries()).prop_map(
        |(broker, topology, exchanges, limits, pauses, attempts, rest, retry)| {
            let pem = || Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
            let mut config = Config::default();
            config.broker.uri = vec![Uri::new("amqps://one/shop"), Uri::new("amqps://two/shop")];
            config.broker.management_uri = broker.0;
            if broker.1 {
                config.broker.ca_file = pem();
                config.broker.cert_file = pem();
                config.broker.key_file = pem();
            }
            config.broker.connect_timeout = broker.2;
            config.broker.heartbeat = Duration::from_secs(broker.3);
            config.broker.reconnect_max = broker.4;
            config.topology.namespace = topology.0.clone();
            config.topology.version = topology.1;
            config.topology.unit = topology.2;
            config.topology.radix = topology.3;
            config.topology.max_delay = topology.4;
            config.topology.queue_type =
                if topology.5 { QueueType::Classic } else { QueueType::Quorum };
            config.topology.declare = topology.6;
            config.delay_exchanges = vec![exchange(&format!("{}.delay", topology.0), "")];
            let further =
                exchanges.0.into_iter().map(|(name, target)| exchange(name.trim(), target.trim()));
            config.delay_exchanges.extend(further);
            config.targets.header_exchanges =
                exchanges.1.iter().map(|name| name.trim().to_owned()).collect();
            config.targets.queues = exchanges.2;
            (config.intake.prefetch, config.hold.max_messages) = (limits.0, limits.1);
            (config.hold.max_bytes, config.delivery.window) = (limits.2, limits.3);
            (config.hold.margin, config.delivery.confirm_timeout) = (pauses.0, pauses.1);
            (config.delivery.avoid_failed_exchange, config.stop.grace) = (pauses.2, pauses.3);
            (config.attempts.max, config.attempts.initial_backoff) = (attempts.0, attempts.1);
            (config.attempts.multiplier, config.attempts.max_backoff) = (attempts.2, attempts.3);
            config.attempts.jitter = attempts.4;
            config.retry = retry;
            config.http.listen = rest.0.map(Into::into);
            config.log.filter = "warn,dormouse=debug".into();
            config.log.format = if rest.1 { LogFormat::Json } else { LogFormat::Text };
            config.schedule.trust_broker_timestamp = rest.2;
            (config.commands, (config.ledger, config.index)) = (rest.3, rest.4);
            config
        },
    )
}

proptest! {
    #[test]
    fn a_printed_duration_reads_as_the_same(duration in durations()) {
        let text = durations::duration(duration);
        prop_assert!(!text.contains(' '));
        prop_assert_eq!(durations::parse_duration(&text), Ok(duration));
    }

    #[test]
    fn any_text_is_a_duration_or_an_error(text in "\\PC{0,30}|[0-9dhms .,-]{0,20}") {
        let _ = durations::parse_duration(&text);
    }

    #[test]
    fn any_bytes_in_a_file_load_or_are_faults(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let loaded = dormouse::config::load(Sources { file: Some(file("bytes", bytes)), ..Sources::default() });
        prop_assert!(loaded.is_ok() || !loaded.unwrap_err().faults().is_empty());
    }

    #[test]
    fn any_values_under_real_and_false_keys_load_or_are_faults(
        lines in prop::collection::vec(toml_lines(), 0..8),
    ) {
        let text = lines.join("\n");
        match from_toml("lines", &text) {
            Ok(config) => prop_assert_eq!(config.check(), []),
            Err(faults) => prop_assert!(one_line_each(&faults), "{faults}"),
        }
    }

    #[test]
    fn any_text_in_a_variable_or_flag_loads_or_is_a_fault(
        index in 0..KEYS.len(),
        value in "\\PC{0,30}|[-0-9a-z=,.:/@?# \n]{0,30}",
        flag in any::<bool>(),
    ) {
        let pair = |name: String| vec![(name, value.clone())];
        let key = &KEYS[index];
        let sources = if flag {
            Sources { overrides: pair(key.name.into()), ..Sources::default() }
        } else {
            Sources { environment: pair(key.variable()), ..Sources::default() }
        };
        match dormouse::config::load(sources) {
            Ok(config) => prop_assert_eq!(config.check(), []),
            Err(faults) => prop_assert!(one_line_each(&faults), "{faults}"),
        }
    }

    #[test]
    fn any_name_of_a_variable_or_flag_loads_or_is_a_fault(name in "\\PC{0,30}|[a-z._]{0,30}") {
        let variable = (format!("DORMOUSE_{}", name.to_uppercase()), "1".to_string());
        let environment = vec![variable];
        let _ = dormouse::config::load(Sources { environment, ..Sources::default() });
        let overrides = vec![(name, "1".to_string())];
        let _ = dormouse::config::load(Sources { overrides, ..Sources::default() });
    }

    #[test]
    fn a_shown_configuration_loads_as_the_same(config in configs()) {
        prop_assert_eq!(config.check(), []);
        prop_assert_eq!(from_toml("round", &config.to_toml()).unwrap(), config);
    }

    #[test]
    fn no_password_of_a_uri_is_shown(
        password in "[a-zA-Z0-9/?#@:,%&= -]{0,10}SECRET[a-zA-Z0-9/?#@:,%&= -]{0,10}",
        host in "[a-z]{1,8}",
    ) {
        let uri = format!("amqp://user:{password}@{host}:5672/shop");
        prop_assert!(!Uri::new(&uri).to_string().contains("SECRET"));
        let said = match from_variables(&[("DORMOUSE_URI", &uri)]) {
            Ok(config) => format!("{config:?} {}", config.to_toml()),
            Err(faults) => format!("{faults} {faults:?}"),
        };
        prop_assert!(!said.contains("SECRET"), "{said}");
    }
}

fn toml_lines() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        (0..KEYS.len()).prop_map(|index| KEYS[index].name.to_owned()),
        "[a-z_]{1,8}(\\.[a-z_]{1,8}){0,2}",
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        "true|false|nan|-inf|\\[\\]|\\{\\}|\\{ a = 1 \\}|\\[\\[\\]\\]|'[ -&(-~]{0,20}'",
        "2026-01-01|\\['[ -&(-~]{0,10}', 1\\]",
    ];
    prop_oneof![
        (name.clone(), value).prop_map(|(name, value)| format!("{name} = {value}")),
        name.clone().prop_map(|name| format!("[{name}]")),
        name.prop_map(|name| format!("[[{name}]]")),
    ]
}

fn one_line_each(faults: &ConfigFaults) -> bool {
    !faults.faults().is_empty()
        && faults.faults().iter().all(|fault| fault.to_string().lines().count() == 1)
}
