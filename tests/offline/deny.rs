//! The licenses, bans and sources of deny.toml, over what `cargo metadata` tells: `cargo deny` itself
//! takes minutes to build, and `make deny` runs it where it is.

use std::collections::BTreeSet;
use std::process::Command;

use ::config::{File, FileFormat};
use regex::Regex;
use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};

/// deny.toml, and every package that a build for this platform has.
fn rules_and_packages() -> (Value, Vec<Value>) {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = std::fs::read_to_string(format!("{root}/deny.toml")).unwrap();
    let rules = ::config::Config::builder().add_source(File::from_str(&text, FileFormat::Toml));
    let rules = rules.build().unwrap().try_deserialize().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--all-features", "--offline", "--locked"])
        .args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 100, "all dependencies");
    (rules, packages)
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// Whether a package's license can be met by one of these. Old packages say `MIT/Apache-2.0`.
fn is_allowed(license: &str, allow: &[Licensee]) -> bool {
    let license = Expression::parse_mode(license, ParseMode::LAX);
    license.is_ok_and(|license| {
        license.evaluate(|required| allow.iter().any(|allowed| allowed.satisfies(required)))
    })
}

#[test]
fn a_license_that_is_not_named_is_not_allowed() {
    let allow = ["MIT", "Apache-2.0 WITH LLVM-exception"];
    let allow = allow.map(|license| Licensee::parse(license).unwrap());
    for (license, expected) in [
        ("GPL-3.0-only/MIT", true),
        ("GPL-3.0-only AND MIT", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0-only", true),
        ("Apache-2.0", false),
        ("none", false),
    ] {
        assert_eq!(is_allowed(license, &allow), expected, "{license}");
    }
}

#[test]
fn every_dependency_has_an_allowed_license_and_source() {
    let (rules, packages) = rules_and_packages();
    let licenses = texts(&rules["licenses"]["allow"]);
    let licenses: Vec<_> = licenses.iter().map(|text| Licensee::parse(text).unwrap()).collect();
    let registries = texts(&rules["sources"]["allow-registry"]);
    let bans = rules["bans"]["deny"].as_array().unwrap();
    let banned: Vec<_> = bans.iter().map(|ban| ban["crate"].as_str().unwrap()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let license = package["license"].as_str().unwrap_or("none");
        assert!(is_allowed(license, &licenses), "{name}: license {license}");
        assert!(!banned.contains(&name), "{name} is banned");
        match package["source"].as_str() {
            None => assert!(is_ours(name), "{name}: a path is no source"),
            Some(source) => {
                let registry = source.strip_prefix("registry+").unwrap_or(source);
                assert!(registries.contains(&registry), "{name}: source {source}");
            }
        }
        let on = package["dependencies"].as_array().unwrap();
        // what only tests need, and what is ours, is not published with a version
        let wild = on
            .iter()
            .any(|on| on["req"] == "*" && !(on["kind"] == "dev" && on["path"].is_string()));
        assert!(!is_ours(name) || !wild, "{name}: a dependency on any version");
    }
}

fn is_ours(name: &str) -> bool {
    name == "dormouse" || name.starts_with("dormouse-")
}

/// docs/dependencies.md says of each crate that one of ours names why it is there, and of no other.
#[test]
fn every_direct_dependency_is_explained() {
    let (_, packages) = rules_and_packages();
    let ours = packages.iter().filter(|package| is_ours(package["name"].as_str().unwrap()));
    let named = ours.flat_map(|package| package["dependencies"].as_array().unwrap());
    let named = named.map(|dependency| dependency["name"].as_str().unwrap());
    let named: BTreeSet<_> = named.filter(|name| !is_ours(name)).collect();
    let text = crate::docs::read("docs/dependencies.md");
    let cells =
        text.lines().filter(|line| line.starts_with("| `")).filter_map(|row| row.split('|').nth(1));
    let name = Regex::new("`([^`]+)`").unwrap();
    let explained =
        cells.flat_map(|cell| name.captures_iter(cell).map(|hit| hit.extract::<1>().1[0]));
    assert_eq!(named, explained.collect());
}
