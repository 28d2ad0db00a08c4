//! What is shipped beside the program agrees with it: the unit, the image, the compose file and what that mounts. Pure.

use std::collections::BTreeMap;

use dormouse::config::{Config, ConfigFaults, Role, Sources, load};
use dormouse::webhooks::Endpoints;
use regex::Regex;

use crate::docs::{read, root};

const COMPOSE: &str = "docker-compose.yml";
const ENDPOINTS: &str = "compose/endpoints.toml";

/// The unit and the compose file leave a worker the time that it may take to stop.
#[test]
fn a_worker_is_left_the_time_to_stop() {
    let grace = Config::default().stop.grace.as_secs();
    let waits =
        [("packaging/dormouse.service", "TimeoutStopSec=", 1), (COMPOSE, "stop_grace_period: ", 2)];
    for (file, setting, times) in waits {
        let text = read(file);
        let waits: Vec<u64> = text
            .split(setting)
            .skip(1)
            .map(|rest| rest.split_once('s').unwrap().0.parse().unwrap())
            .collect();
        assert!(waits.len() == times && waits.iter().all(|waits| *waits > grace), "{file}");
    }
}

#[test]
fn the_ports_of_the_defaults_are_open() {
    let config = Config::default();
    let ports = [config.http.listen, config.api.listen].map(|listen| listen.unwrap().port());
    let [metrics, api] = ports;
    assert!(read("Dockerfile").contains(&format!("EXPOSE {metrics} {api}\n")));
    for port in ports {
        let published = format!("- \"127.0.0.1:{port}:{port}\"\n");
        assert!(read(COMPOSE).contains(&published), "{published}");
        assert!(read("README.md").contains(&format!(":{port}")), "{port}");
    }
}

/// The lines of a service, to the next one.
fn service(name: &str) -> String {
    let text = read(COMPOSE);
    let begin = text.find(&format!("\n  {name}:\n")).unwrap_or_else(|| panic!("no service {name}"));
    let rest = &text[begin + 1..];
    let end = Regex::new(r"(?m)^(?:  )?\w")
        .unwrap()
        .find_at(rest, 3)
        .map_or(rest.len(), |end| end.start());
    rest[..end].to_owned()
}

/// What a service sets; what stands for a value set elsewhere has that.
fn environment(name: &str) -> BTreeMap<String, String> {
    let line =
        Regex::new(r##"(?m)^      (DORMOUSE_[A-Z_]+): (?:&(\w+) )?"?([^"#\n]+?)"?(?: #.*)?$"##);
    let line = line.unwrap();
    let named: BTreeMap<_, _> = line
        .captures_iter(&read(COMPOSE))
        .filter_map(|hit| Some((format!("*{}", hit.get(2)?.as_str()), hit[3].to_owned())))
        .collect();
    line.captures_iter(&service(name))
        .map(|hit| {
            (hit[1].to_owned(), named.get(&hit[3]).map_or(&hit[3], String::as_str).to_owned())
        })
        .collect()
}

/// In the image, with what it sets itself.
fn config(mut environment: BTreeMap<String, String>) -> Result<Config, ConfigFaults> {
    let image = read("Dockerfile");
    for set in image.lines().filter_map(|line| line.strip_prefix("ENV ")) {
        for (name, value) in set.split(' ').filter_map(|pair| pair.split_once('=')) {
            environment.entry(name.to_owned()).or_insert(value.to_owned());
        }
    }
    // mounted there
    if let Some(file) = environment.get_mut("DORMOUSE_WEBHOOKS_FILE") {
        assert!(service("dormouse").contains(&format!("- ./{ENDPOINTS}:{file}:ro\n")), "{file}");
        *file = root().join(ENDPOINTS).display().to_string();
    }
    load(Sources { environment: environment.into_iter().collect(), ..Sources::default() })
}

#[test]
fn the_compose_file_runs_every_role_and_further_workers_beside() {
    let all = config(environment("dormouse")).unwrap();
    for role in [Role::Worker, Role::Index, Role::Api, Role::Webhooks] {
        assert!(all.service.has(role), "{role:?}");
    }
    // a volume is mounted where the index is, and the image has the folder for its user
    let file = all.index.file.unwrap();
    let folder = file.parent().unwrap().display().to_string();
    assert!(service("dormouse").contains(&format!("- index:{folder}\n")), "{folder}");
    assert!(read("Dockerfile").contains(&format!("--owner=dormouse --group=dormouse {folder}\n")));
    assert!(all.api.listen.unwrap().ip().is_unspecified(), "nobody else reaches it");

    let worker = config(environment("worker")).unwrap();
    assert_eq!(worker.service, Config::default().service);
    assert_eq!((worker.commands, worker.ledger), (all.commands, all.ledger), "all workers alike");
    assert_eq!(worker.broker.uri, all.broker.uri);
    for client in ["publisher", "consumer"] {
        assert!(service(client).contains("environment: *broker\n"), "{client}");
    }
}

/// With the role api and no proxy it would not start: the image listens for other machines.
#[test]
fn the_image_has_no_api_without_tls_or_a_proxy() {
    let mut environment = environment("dormouse");
    environment.remove("DORMOUSE_API_TRUSTED_PROXIES").unwrap();
    let faults = config(environment).unwrap_err().to_string();
    assert!(faults.contains("api.listen"), "{faults}");
    config(BTreeMap::new()).expect("a worker needs none of it");
}

/// The endpoint is the receiver beside it, with the same secret.
#[test]
fn the_endpoints_of_the_compose_file_are_right() {
    let endpoints = Endpoints::parse(&read(ENDPOINTS)).unwrap();
    let receiver = endpoints.get("receiver").unwrap();
    let (name, port) = (receiver.url.host().unwrap(), receiver.url.port_u16().unwrap());
    let client = read("compose/receiver.py");
    assert!(service(name).contains("command: [\"receiver.py\"]\n"));
    assert!(client.contains(&format!("\"PORT\", \"{port}\"")), "{port}");
    let secret = service(name);
    let secret = secret.split_once("WEBHOOK_SECRET: ").unwrap().1.split_once(' ').unwrap().0;
    assert!(read(ENDPOINTS).contains(&format!("secrets = [{secret:?}]")), "{secret}");
    assert!(read("compose/Dockerfile").contains("receiver.py"));
}
