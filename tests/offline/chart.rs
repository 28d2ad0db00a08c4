//! The chart, as helm renders it with the values of tests/chart: valid for Kubernetes, and a configuration that the program
//! understands. scripts/get-clients.sh fetches helm and Kubernetes' schemas; where it cannot, it says so, and these are skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dormouse::config::{Config, Role, Sources, load};
use dormouse::webhooks::Endpoints;
use serde_json::Value as Json;

use crate::docs::{read, root};
use crate::fetched::fetched;

const CHART: &str = "packaging/helm/dormouse";
/// The oldest that Chart.yaml allows.
const OLDEST: &str = "1.30";

fn helm(folder: &Path, verb: &[&str], values: &[&str]) -> Output {
    Command::new(folder.join("helm/helm"))
        .args(verb)
        .arg(CHART)
        .args(values)
        .current_dir(root())
        // nothing of whoever runs the test
        .env("HOME", folder)
        .output()
        .unwrap()
}

/// What helm makes of one of tests/chart, in files and as JSON.
fn rendered(folder: &Path, name: &str) -> (PathBuf, Vec<Json>) {
    let values = format!("tests/chart/{name}.yaml");
    let output = helm(folder, &["template", "shop"], &["--values", &values]);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chart-{name}.yaml"));
    std::fs::write(&file, &output.stdout).unwrap();
    let to_json = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let json = Command::new(folder.join("venv/bin/python"))
        .args(["-c", to_json])
        .arg(&file)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    (file, serde_json::from_slice(&json.stdout).unwrap())
}

fn is_valid(folder: &Path, file: &Path, version: &[&str]) -> (bool, String) {
    let output = Command::new(folder.join("venv/bin/kubernetes-validate"))
        .arg("--strict")
        .args(version)
        .arg(file)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    (output.status.success(), said)
}

/// All in one file, since it takes seconds to read the schemas.
#[test]
fn what_the_chart_makes_is_valid() {
    let Some(folder) = fetched("packaging") else { return };
    let mut all = String::new();
    for (name, kinds) in [("workers", 5), ("api", 7), ("index", 7)] {
        let values = format!("tests/chart/{name}.yaml");
        let lint = helm(&folder, &["lint", "--strict"], &["--values", &values]);
        assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
        let (file, made) = rendered(&folder, name);
        assert_eq!(made.len(), kinds, "{name}");
        all.push_str(&std::fs::read_to_string(file).unwrap());
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chart-all.yaml");
    std::fs::write(&file, &all).unwrap();
    for version in [["-k", OLDEST].as_slice(), &[]] {
        let (valid, said) = is_valid(&folder, &file, version);
        assert!(valid, "{said}");
        // a ServiceMonitor is no kind of Kubernetes' own
        let unknown: Vec<_> = said.lines().filter(|line| line.starts_with("WARN")).collect();
        assert!(unknown.len() == 1 && unknown[0].contains("ServiceMonitor"), "{said}");
    }
    // and the validator sees what is not
    std::fs::write(&file, all.replacen("readinessProbe:", "readynessProbe:", 1)).unwrap();
    let (valid, said) = is_valid(&folder, &file, &[]);
    assert!(!valid && said.contains("readynessProbe"), "{said}");
}

/// The pods of what was made, with what they are part of.
fn workloads(made: &[Json]) -> Vec<(String, &Json)> {
    let is_workload = |made: &&Json| made["kind"] == "Deployment" || made["kind"] == "StatefulSet";
    let name = |made: &Json| made["metadata"]["name"].as_str().unwrap().to_owned();
    made.iter()
        .filter(is_workload)
        .map(|made| (name(made), &made["spec"]["template"]["spec"]))
        .collect()
}

fn of<'a>(made: &'a [Json], kind: &str, name: &str) -> Option<&'a Json> {
    made.iter().find(|made| made["kind"] == kind && made["metadata"]["name"] == name)
}

/// What the program of a pod is configured as: its variables, with the files that are mounted.
fn configured(made: &[Json], pod: &Json, scratch: &Path) -> Config {
    let container = &pod["containers"][0];
    for mount in container["volumeMounts"].as_array().unwrap() {
        let volumes = pod["volumes"].as_array().unwrap();
        let Some(volume) = volumes.iter().find(|volume| volume["name"] == mount["name"]) else {
            continue; // a claim
        };
        let folder = scratch.join(mount["mountPath"].as_str().unwrap().trim_start_matches('/'));
        std::fs::create_dir_all(&folder).unwrap();
        let map = volume["configMap"]["name"].as_str().and_then(|name| of(made, "ConfigMap", name));
        let secret =
            volume["secret"]["secretName"].as_str().and_then(|name| of(made, "Secret", name));
        match map.map(|map| &map["data"]).or(secret.map(|secret| &secret["stringData"])) {
            Some(files) => {
                for (name, text) in files.as_object().unwrap() {
                    std::fs::write(folder.join(name), text.as_str().unwrap()).unwrap();
                }
            }
            // a Secret that is there
            None => ["ca.crt", "tls.crt", "tls.key"]
                .into_iter()
                .for_each(|name| std::fs::write(folder.join(name), "PEM").unwrap()),
        }
    }
    let mut file = None;
    let mut environment = Vec::new();
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let reference = &variable["valueFrom"]["secretKeyRef"];
        let value = match reference["name"].as_str() {
            None => variable["value"].as_str().unwrap(),
            Some(secret) => {
                match (of(made, "Secret", secret), reference["key"].as_str().unwrap()) {
                    (Some(secret), key) => secret["stringData"][key].as_str().unwrap(),
                    (None, "uri") => "amqps://dormouse:secret@rabbitmq:5671/%2f",
                    (None, _) => "https://rabbitmq:15671",
                }
            }
        };
        let value = match value.strip_prefix('/') {
            Some(path) if name != "DORMOUSE_INDEX_FILE" => scratch.join(path).display().to_string(),
            _ => value.to_owned(),
        };
        match name {
            "DORMOUSE_CONFIG" => file = Some(PathBuf::from(value)),
            _ => environment.push((name.to_owned(), value)),
        }
    }
    load(Sources { file, environment, ..Sources::default() }).unwrap()
}

#[test]
fn what_the_chart_runs_is_configured_and_left_the_time_to_stop() {
    let Some(folder) = fetched("packaging") else { return };
    let mut seen = Vec::new();
    for name in ["workers", "api", "index"] {
        let (_, made) = rendered(&folder, name);
        for (name, pod) in workloads(&made) {
            let scratch = tempfile::tempdir().unwrap();
            let config = configured(&made, pod, scratch.path());
            let container = &pod["containers"][0];
            let port = |of: &str| {
                let ports = container["ports"].as_array().unwrap();
                let port = ports.iter().find(|port| port["name"] == of);
                port.map(|port| port["containerPort"].as_u64().unwrap())
            };
            assert_eq!(port("metrics"), Some(config.http.listen.unwrap().port().into()), "{name}");
            let answers =
                [Role::Api, Role::Console].into_iter().any(|role| config.service.has(role));
            let api = answers.then(|| config.api.listen.unwrap());
            assert_eq!(port("api"), api.map(|api| api.port().into()), "{name}");
            assert!(api.is_none_or(|api| api.ip().is_unspecified()), "{name}: nobody reaches it");
            for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
                let get = &container[probe]["httpGet"];
                assert!(get["path"] == path && get["port"] == "metrics", "{name}: {get}");
            }
            let waits = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
            assert_eq!(waits > 0, api.is_some(), "{name}: a Service leads here");
            let stops = waits + config.stop.grace.as_secs();
            assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > stops, "{name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
            if let Some(file) = &config.index.file {
                let mounts = container["volumeMounts"].as_array().unwrap();
                let folder = file.parent().unwrap().to_str().unwrap();
                let mount = mounts.iter().find(|mount| mount["mountPath"] == folder).unwrap();
                assert!(mount.get("readOnly").is_none() && config.ledger.enabled, "{name}");
            }
            if let Some(file) = &config.webhooks.file {
                let endpoints = Endpoints::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
                assert!(endpoints.get("billing").is_some(), "{name}");
            }
            let roles: Vec<_> =
                [Role::Worker, Role::Index, Role::Api, Role::Webhooks, Role::Console]
                    .into_iter()
                    .filter(|role| config.service.has(*role))
                    .collect();
            seen.push((name, roles));
        }
    }
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    let worker = || ("shop-dormouse-worker".to_owned(), vec![Role::Worker]);
    let expected = [
        ("shop-dormouse-api".to_owned(), vec![Role::Api, Role::Webhooks]),
        ("shop-dormouse-index".to_owned(), vec![Role::Index, Role::Api, Role::Console]),
        worker(),
        worker(),
        worker(),
    ];
    assert_eq!(seen, expected);
}

/// By the schema, or in words of the chart's own.
#[test]
fn values_that_are_wrong_are_refused() {
    let Some(folder) = fetched("packaging") else { return };
    let front = ["broker.uri=amqp://a", "api.enabled=true"];
    let tls = [&front[..], &["api.tlsSecret=tls"]].concat();
    let index = ["broker.uri=amqp://a", "index.enabled=true", "api.tlsSecret=tls"];
    let with = |values: &[&'static str], more: &'static str| [values, &[more]].concat();
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec![], "broker.uri or broker.existingSecret has to say where RabbitMQ is"),
        (vec!["broker.uri=http://a"], "/broker/uri"),
        (vec!["broker.existingSecret=a", "worker.replicas=0"], "/worker/replicas"),
        (vec!["broker.existingSecret=a", "worker.replica=2"], "replica"),
        (front.to_vec(), "api.tlsSecret or api.trustedProxies is needed"),
        (with(&tls, "api.roles={api,worker}"), "/api/roles/1"),
        (with(&tls, "api.roles={webhooks}"), "takes webhooks.endpoints or webhooks.existingSecret"),
        (with(&tls, "index.enabled=true"), "leave api.enabled false"),
        (index.to_vec(), "index.enabled takes [ledger] enabled = true"),
        (with(&tls, "listen=127.0.0.1"), "/listen"),
        (with(&tls, "terminationGracePeriodSeconds=30s"), "/terminationGracePeriodSeconds"),
    ];
    for (set, expected) in cases {
        let set: Vec<_> = set.into_iter().flat_map(|value| ["--set", value]).collect();
        let output = helm(&folder, &["template", "shop"], &set);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{set:?}: {said}");
    }
    let output = helm(&folder, &["template", "shop"], &["--set", "broker.existingSecret=a"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = read(format!("{CHART}/Chart.yaml"));
    let version = env!("CARGO_PKG_VERSION");
    assert!(chart.contains(&format!("\nversion: {version}\n")), "{chart}");
    assert!(chart.contains(&format!("\nappVersion: \"{version}\"\n")), "{chart}");
}
