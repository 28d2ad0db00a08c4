//! The lab's command line without a broker: help, and what is wrong usage.

use std::process::{Command, Stdio};

use clap::CommandFactory;
use dormouse_lab::cli::Cli;

/// Exit code, standard output and standard error of a run with none of this process's variables.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_dormouse-lab"));
    lab.args(arguments).env_clear().stdin(Stdio::null());
    let output = lab.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_help_fits_80_columns() {
    let mut commands = vec![(Vec::<String>::new(), Cli::command())];
    let mut seen = 0;
    while let Some((path, command)) = commands.pop() {
        for help in ["--help", "-h"] {
            let arguments: Vec<_> = path.iter().map(String::as_str).chain([help]).collect();
            let (code, printed, _) = run(&arguments);
            assert_eq!(code, Some(0), "{arguments:?}");
            for line in printed.lines() {
                assert!(line.chars().count() <= 80, "{arguments:?}: {line}");
            }
            // what stands behind the options was broken by hand: clap breaks one word too late
            let (_, by_hand) = printed.split_once("\nOptions of every command:").expect("options");
            for line in by_hand.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()) {
                assert!(line.contains(' '), "{arguments:?}: {line}");
            }
        }
        seen += 1;
        commands.extend(
            command
                .get_subcommands()
                .map(|child| ([&path[..], &[child.get_name().to_owned()]].concat(), child.clone())),
        );
    }
    assert_eq!(
        seen, 17,
        "the lab, its commands, the profiles of the bench, the relay of the comparison"
    );
}

#[test]
fn wrong_usage_is_2_and_says_what_is_right() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage: dormouse-lab"),
        (&["drill", "--only", "21"], "there is no drill 21"),
        (&["bench", "steady", "--delay", "5s..1s"], "the first must be the shorter one"),
        (&["bench", "steady", "--rate", "0"], "a number of messages a second"),
        (&["bench", "max", "--delay", "2h"], "must be at most 1h"),
        (&["bench", "max", "--duration", "1ms"], "must be 100ms to 1h"),
        (&["bench", "backlog", "--in-place"], "would stay behind"),
        (&["bench", "schedules", "--in-place"], "would stay behind"),
        (
            &["bench", "schedules", "-n", "60", "--burst", "61"],
            "--burst 61 is more than --schedules 60",
        ),
        (
            &["--set", "topology.max_delay=20m", "bench", "backlog"],
            "1d is longer than the longest delay",
        ),
        (&["compare", "--only", "speed"], "possible values: max"),
    ];
    for (arguments, expected) in cases {
        let (code, printed, said) = run(arguments);
        // where it was folded depends on what it quotes
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
