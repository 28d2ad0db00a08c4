//! What the packages have beside the program agrees with it: configuration, unit, man pages. scripts/check-release.sh
//! tries packages that were made.

use std::collections::BTreeSet;
use std::process::Command;

use clap::CommandFactory;
use dormouse::cli::Cli;
use dormouse::config::{Config, KEYS, Sources, load};

use crate::config::file;
use crate::docs::{read, root};

const CONFFILE: &str = "packaging/deb/dormouse.toml";

/// Every key as a comment with its default, its meaning and its limits; the sections stand.
fn conffile() -> String {
    let mut text = String::from(
        "# The configuration of Dormouse. Each key stands here with what holds without it; take the # away to set it.\n\
         # Passwords belong into dormouse.env, which wins over this file. `dormouse config check` tells all faults at once.\n\n",
    );
    // masked where it is shown
    let shown = Config::default().to_toml().replace("guest:***@", "guest:guest@");
    for line in shown.lines() {
        let is_value = !line.is_empty() && !line.starts_with('#');
        let is_section = line.starts_with('[') && !line.starts_with("[[");
        text.push_str(if is_value && !is_section { "#" } else { "" });
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The values of a conffile, set.
fn set(conffile: &str) -> String {
    let is_value = |line: &&str| !line.starts_with("# ");
    let lines = conffile.lines().filter(is_value);
    lines.map(|line| line.strip_prefix('#').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_conffile_has_every_key_with_its_default() {
    let fresh = conffile();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(root().join(CONFFILE), &fresh).unwrap();
    }
    let text = read(CONFFILE);
    assert!(text == fresh, "{CONFFILE} is stale: run with UPDATE_GOLDEN=1");
    // as it is, and with everything in it set
    for (name, toml) in [("shipped", text.clone()), ("all", set(&text))] {
        let sources = Sources { file: Some(file(name, &toml)), ..Sources::default() };
        assert_eq!(load(sources).unwrap(), Config::default(), "{name}");
    }
}

#[test]
fn the_secrets_and_the_unit_name_what_is_installed() {
    let environment = read("packaging/deb/dormouse.env");
    let mut variables = 0;
    for line in environment.lines() {
        let Some((name, _)) = line.trim_start_matches('#').split_once('=') else { continue };
        let is_key = KEYS.iter().any(|key| key.variable() == name);
        assert!(is_key || name == "DORMOUSE_CONFIG", "{name}");
        variables += 1;
    }
    assert_eq!(variables, 3);
    let unit = read("packaging/dormouse.service");
    let release = read("scripts/release.sh");
    for (set, made) in [
        ("ExecStart=/usr/bin/dormouse run\n", "\"$tree/bin/dormouse\""),
        ("EnvironmentFile=-/etc/dormouse/dormouse.env\n", "\"$tree/etc/dormouse/dormouse.env\""),
        ("Documentation=man:dormouse(1)\n", "\"$program\" man"),
    ] {
        assert!(unit.contains(set) && release.contains(made), "{set}");
    }
    assert!(environment.contains("DORMOUSE_CONFIG=/etc/dormouse/dormouse.toml\n"));
    let postinst = read("packaging/deb/postinst");
    assert!(unit.contains("User=dormouse\n") && postinst.contains("--system --group"));
    assert!(unit.contains("StateDirectory=dormouse\n") && postinst.contains("/var/lib/dormouse"));
}

/// The names of man pages, as clap knows the commands.
fn pages(command: &clap::Command, name: &str) -> BTreeSet<String> {
    let mut pages = BTreeSet::from([format!("{name}.1")]);
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        pages.extend(self::pages(child, &format!("{name}-{}", child.get_name())));
    }
    pages
}

#[test]
fn every_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let program = assert_cmd::cargo::cargo_bin!("dormouse");
    let man = |folder: &std::path::Path| {
        Command::new(program).arg("man").arg(folder).env_clear().output().unwrap()
    };
    let output = man(folder.path());
    assert!(output.status.success(), "{output:?}");
    let made: BTreeSet<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains("-help"))
        .collect();
    assert_eq!(made, pages(&Cli::command(), "dormouse"));
    let page = std::fs::read_to_string(folder.path().join("dormouse-topology-plan.1")).unwrap();
    assert!(page.contains("\\-\\-management\\-uri"), "with the options of every command: {page}");
    let output = man(&folder.path().join("nowhere"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to"), "{output:?}");
}
