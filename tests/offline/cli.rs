//! The command line without a broker: help, exit codes, and what needs no broker to answer.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory;
use dormouse::cli::Cli;
use serde_json::Value;

/// A command with none of this process's variables.
fn dormouse(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("dormouse"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    dormouse(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Standard output of a run that has to succeed.
fn printed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.extend(["-o", "json"]);
    serde_json::from_str(&printed(&all)).expect("JSON")
}

/// Exit code and what it said, in one line: where it was folded depends on what it quotes.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    assert_eq!(text(&output.stdout), "", "{arguments:?} prints nothing but an error");
    let said = text(&output.stderr);
    (output.status.code(), said.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Every command with its parents, such as `["dlq", "list"]`.
fn commands(of: &clap::Command, path: &[String]) -> Vec<Vec<String>> {
    let children = of.get_subcommands().filter(|child| child.get_name() != "help");
    let deeper = children.flat_map(|child| {
        let path: Vec<_> = path.iter().cloned().chain([child.get_name().to_owned()]).collect();
        commands(child, &path)
    });
    std::iter::once(path.to_vec()).chain(deeper).collect()
}

#[test]
fn every_help_fits_80_columns() {
    let all = commands(&Cli::command(), &[]);
    assert!(all.len() > 10, "{all:?}");
    for path in all {
        for help in ["--help", "-h"] {
            let arguments: Vec<_> = path.iter().map(String::as_str).chain([help]).collect();
            let printed = printed(&arguments);
            for line in printed.lines() {
                assert!(line.chars().count() <= 80, "{arguments:?}: {line}");
            }
            // what stands behind the options was broken by hand: clap breaks one word too late
            let (_, by_hand) = printed.split_once("\nOptions of every command:").expect("options");
            for line in by_hand.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()) {
                assert!(line.contains(' '), "{arguments:?}: {line}");
            }
        }
    }
}

#[test]
fn help_documents_every_exit_code() {
    let help = printed(&["--help"]);
    let (_, codes) = help.split_once("Exit codes:\n").expect("the codes");
    let numbers: Vec<_> = codes.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn wrong_usage_is_2_and_says_what_is_right() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage: dormouse"),
        (&["publsh"], "a similar subcommand exists: 'publish'"),
        (&["explain"], "<DELAY>"),
        (&["explain", "5"], "has no unit"),
        (&["explain", "-1s"], "unexpected argument"),
        (&["explain", "2h", "--at", "2030-01-01T00:00:00Z"], "cannot be used with"),
        (&["explain", "--at", "tomorrow"], "invalid value 'tomorrow'"),
        (&["dlq", "redrive"], "<ID|--all|--reason <REASON>>"),
        (&["dlq", "redrive", "--all", "1a"], "cannot be used with"),
        (
            &["dlq", "redrive", "--all", "--at", "2030-01-01T00:00:00Z", "--in", "1s"],
            "cannot be used with",
        ),
        (&["dlq", "redrive", "--all", "--exchange", "audit"], "--to <KEY>"),
        (&["dlq", "redrive", "--all", "--to", "dormouse.dlq"], "is Dormouse's own and no target"),
        (&["dlq", "list", "--reason", "bored"], "possible values: unroutable"),
        (&["dlq", "show", ""], "a value is required"),
        (&["publish", "--to", "q"], "no body"),
        (
            &["publish", "--to", "q", "-d", "2s", "--at", "2030-01-01T00:00:00Z", "x"],
            "cannot be used with",
        ),
        (&["publish", "--to", "q", "-d", "366d", "x"], "topology.max_delay = 365d"),
        (&["publish", "--to", "q", "--if-exists", "keep", "x"], "--key <KEY>"),
        (&["publish", "--to", "q", "--key", "k", "--if-exists", "drop", "x"], "replace, keep"),
        (
            &["publish", "--to", "q", "--key", "k", "--if-exists", "keep", "-n", "2", "x"],
            "cannot be used with",
        ),
        (&["publish", "--to", "q", "--key", "", "x"], "--key: the key is empty"),
        (&["cancel"], "<KEY>..."),
        (&["cancel", "a", ""], "key \"\": the key is empty: give it 1 to 255 bytes"),
        (&["cancel", "a", "--due", "soon"], "invalid value 'soon'"),
        (&["reschedule", "a"], "--delay <DURATION>"),
        (&["reschedule", "a", "-d", "1h", "--at", "2030-01-01T00:00:00Z"], "cannot be used with"),
        (&["reschedule", "a", "-d", "366d"], "topology.max_delay = 365d"),
        (&["reschedule", "a", "--at", "2026-06-01T00:00:00Z"], "that time has passed"),
        (&["run-now"], "<KEY>"),
        (&["run-now", "a", "b"], "unexpected argument 'b'"),
        (&["run-now", "a", "-d", "366d"], "topology.max_delay = 365d"),
        (&["publish", "--to", "q", "-f", "/nowhere/at/all"], "cannot read the body"),
        (&["--set", "topology.unit", "config", "check"], "KEY=VALUE"),
        (&["--config", "/nowhere/at/all.toml", "status"], "/nowhere/at/all.toml"),
        (&["completions", "cmd"], "possible values: bash"),
    ];
    for (arguments, expected) in cases {
        let (code, said) = refused(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

/// What is too much for one call is refused before anything is sent.
#[test]
fn a_call_takes_10_000_keys() {
    let keys: Vec<_> = (0..10_001).map(|key| key.to_string()).collect();
    let cancel = |count: usize| -> Vec<&str> {
        let keys = keys.iter().take(count).map(String::as_str);
        ["cancel", "--uri", "amqp://127.0.0.1:1"].into_iter().chain(keys).collect()
    };
    let (code, said) = refused(&cancel(10_001));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there are 10,001 keys, and 10,000 is the most at once"), "{said}");
    assert_eq!(refused(&cancel(10_000)).0, Some(4), "sent if there were a broker");
}

#[test]
fn an_unreachable_broker_is_4_and_its_password_is_not_shown() {
    // nothing listens on port 1
    const URI: &str = "amqp://guest:sesame@127.0.0.1:1";
    let commands: &[&[&str]] = &[
        &["status"],
        &["dlq", "list"],
        &["dlq", "show", "1a"],
        &["dlq", "redrive", "--all"],
        &["dlq", "purge", "--all", "--yes"],
        &["publish", "--to", "q", "x"],
        &["publish", "--to", "q", "--key", "k", "--if-exists", "keep", "x"],
        &["cancel", "k"],
        &["reschedule", "k", "--delay", "1h"],
        &["run-now", "k"],
    ];
    for arguments in commands {
        let mut all = arguments.to_vec();
        all.extend(["--uri", URI]);
        let (code, said) = refused(&all);
        assert_eq!(code, Some(4), "{arguments:?}: {said}");
        assert!(said.contains("127.0.0.1:1") && !said.contains("sesame"), "{arguments:?}: {said}");
    }
}

#[test]
fn explain_shows_the_exact_path() {
    insta::assert_snapshot!(printed(&["explain", "2h30m"]));
    insta::assert_snapshot!(printed(&["explain", "0"]));
    let small =
        ["--set", "topology.unit=100ms", "--set", "topology.radix=4", "explain", "10s250ms"];
    insta::assert_snapshot!(printed(&small));
    insta::assert_snapshot!(printed(&["explain", "2h30m", "-o", "json"]));
}

#[test]
fn an_explained_path_adds_up_and_visits_existing_queues() {
    let number = |value: &Value| value.as_u64().expect("a number");
    for delay in ["1ms", "99ms", "1s", "1s100ms", "16s99ms", "4m16s", "1h", "30d1ms", "365d"] {
        let path = json(&["explain", delay]);
        let mut slept_ms = 0;
        for level in path["levels"].as_array().expect("levels") {
            assert_eq!(number(&level["after_ms"]), slept_ms, "{delay}: {path}");
            slept_ms += number(&level["ttl_ms"]);
        }
        assert_eq!(number(&path["asleep_ms"]), slept_ms, "{delay}");
        assert_eq!(number(&path["delay_ms"]), slept_ms + number(&path["held_ms"]), "{delay}");
        assert_eq!(
            number(&path["hops"]) as usize,
            path["levels"].as_array().unwrap().len(),
            "{delay}"
        );
    }
}

#[test]
fn too_long_a_delay_names_the_maximum() {
    let (code, said) = refused(&["--set", "topology.max_delay=1d", "explain", "1d1ms"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("1d1ms") && said.contains("topology.max_delay = 1d"), "{said}");
    printed(&["--set", "topology.max_delay=1d", "explain", "1d"]);
    let (code, said) = refused(&["explain", "--at", "9999-01-01T00:00:00Z"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("topology.max_delay = 365d"), "{said}");
    let past = json(&["explain", "--at", "1970-01-01T00:00:00Z"]);
    assert_eq!((&past["delay_ms"], &past["hops"]), (&0.into(), &0.into()));
}

#[test]
fn config_show_masks_passwords_and_loads_again() {
    let shown = printed(&[
        "config",
        "show",
        "--uri",
        "amqp://u:sesame@h/v",
        "--management-uri",
        "http://u:sesame@h:1",
    ]);
    assert!(!shown.contains("sesame") && shown.contains("amqp://u:***@h/v"), "{shown}");
    let file = std::env::temp_dir().join(format!("dormouse-cli-{}.toml", std::process::id()));
    std::fs::write(&file, &shown).expect("a file");
    let again = printed(&["config", "show", "-c", file.to_str().unwrap()]);
    std::fs::remove_file(&file).expect("it goes");
    assert_eq!(again, shown);
    let document = json(&["config", "show", "--uri", "amqp://u:sesame@h/v"]);
    assert_eq!(document["topology"]["unit"], "15s");
    assert!(!document.to_string().contains("sesame"));
}

#[test]
fn config_check_names_every_fault_at_once() {
    let wrong = [
        "config",
        "check",
        "--set",
        "topology.unit=5",
        "--set",
        "topology.radius=3",
        "--set",
        "hold.margin=1y",
    ];
    let (code, said) = refused(&wrong);
    assert_eq!(code, Some(2));
    for key in ["topology.unit", "topology.radius", "hold.margin"] {
        assert!(said.contains(key), "{said}");
    }
    let output = dormouse(&wrong).args(["-o", "json"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let faults: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(faults["faults"].as_array().map(Vec::len), Some(3), "{faults}");
    assert!(printed(&["config", "check"]).starts_with("The configuration is sound."));
    assert_eq!(json(&["config", "check"])["faults"], Value::Array(Vec::new()));
}

#[test]
fn completions_know_every_command() {
    let names: Vec<_> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for name in &names {
            assert!(script.contains(name.as_str()), "{shell}: {name}");
        }
    }
}

/// `dormouse config show | head -1` must not end with a panic.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let cases: &[&[&str]] = &[
        &["config", "show"],
        &["config", "show", "-o", "json"],
        &["explain", "1h"],
        &["completions", "zsh"],
    ];
    for arguments in cases {
        let mut child = dormouse(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new()),
            "{arguments:?}"
        );
    }
}

/// Flags before environment before file.
#[test]
fn settings_come_from_file_environment_and_flags_in_this_order() {
    let file = std::env::temp_dir().join(format!("dormouse-cli-order-{}.toml", std::process::id()));
    std::fs::write(&file, "[topology]\nnamespace = \"file\"\nversion = 7\nradix = 8\n")
        .expect("a file");
    let mut command = dormouse(&["config", "show", "-o", "json", "--set", "topology.radix=32"]);
    let variables = [
        ("DORMOUSE_CONFIG", file.to_str().unwrap()),
        ("DORMOUSE_TOPOLOGY_VERSION", "9"),
        ("DORMOUSE_TOPOLOGY_RADIX", "4"),
    ];
    let output = command.envs(BTreeMap::from(variables)).output().expect("it runs");
    std::fs::remove_file(&file).expect("it goes");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let topology = &shown["topology"];
    assert_eq!(
        (&topology["namespace"], &topology["version"], &topology["radix"]),
        (&"file".into(), &9.into(), &32.into())
    );
}
