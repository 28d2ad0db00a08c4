//! `topology/` in the repository is what the sample configuration makes of a broker. After a change:
//! `UPDATE_GOLDEN=1 cargo test --test offline topology_export`, and look at the difference.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dormouse::config::{Config, Sources};
use dormouse::topology::{Topology, export, layout};
use serde_json::Value;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topology").join(name)
}

fn sample() -> Config {
    let file = Some(path("dormouse.toml"));
    let sources = Sources { file, environment: Vec::new(), overrides: Vec::new() };
    dormouse::config::load(sources).expect("the sample configuration is right")
}

fn golden(name: &str, made: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path(name), made).unwrap();
    }
    let stored = fs::read_to_string(path(name)).unwrap_or_default();
    assert!(stored == made, "topology/{name} is not up to date: see the head of this test");
}

#[test]
fn the_definitions_in_the_repository_are_those_of_the_sample_configuration() {
    let config = sample();
    golden("definitions.json", &export::definitions(&Topology::of(&config), "/"));
}

#[test]
fn the_levels_in_the_repository_are_those_of_the_sample_configuration() {
    golden("levels.txt", &export::levels(&sample()));
}

#[test]
fn definitions_name_everything_and_lead_nowhere_else() {
    let topology = Topology::of(&sample());
    let definitions: Value =
        serde_json::from_str(&export::definitions(&topology, "shop")).expect("JSON");
    let names = |kind: &str| -> BTreeSet<String> {
        let items = definitions[kind].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let (queues, exchanges) = (names("queues"), names("exchanges"));
    assert_eq!(queues.len(), topology.queues.len());
    assert_eq!(exchanges.len(), topology.exchanges.len());
    let bindings = definitions["bindings"].as_array().unwrap();
    assert_eq!(bindings.len(), topology.bindings.len());
    for binding in bindings {
        let destination = binding["destination"].as_str().unwrap();
        let standing = match binding["destination_type"].as_str() {
            Some("queue") => &queues,
            Some("exchange") => &exchanges,
            other => panic!("{other:?}"),
        };
        assert!(standing.contains(destination), "{destination}");
        assert!(exchanges.contains(binding["source"].as_str().unwrap()), "{binding}");
    }
    for kind in ["queues", "exchanges", "bindings"] {
        let mut items = definitions[kind].as_array().unwrap().iter();
        assert!(items.all(|item| item["vhost"] == "shop"), "{kind}");
    }
}

#[test]
fn the_list_of_levels_names_every_level_queue_and_fits_a_terminal() {
    for config in [Config::default(), sample()] {
        let text = export::levels(&config);
        let queues = export::level_queues(&config);
        assert_eq!(queues.len(), layout(&config).queue_count());
        for queue in queues {
            assert!(text.contains(&queue.queue) && text.contains(&queue.expires_into), "{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

#[test]
fn export_needs_no_broker() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.env_clear();
        let nowhere = ["--uri", "amqp://127.0.0.1:1/shop", "--config"];
        command.args(["topology", "export"]).args(nowhere).arg(path("dormouse.toml"));
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let config = sample();
    assert!(run(&[]) == export::definitions(&Topology::of(&config), "shop"));
    assert!(run(&["--levels"]) == export::levels(&config));
    let levels: Value = serde_json::from_str(&run(&["--levels", "-o", "json"])).unwrap();
    assert_eq!(levels.as_array().unwrap().len(), layout(&config).queue_count());
}
