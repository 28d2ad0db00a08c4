//! The licenses, bans and sources of deny.toml, over what `cargo metadata` tells: `cargo deny` itself
//! takes minutes to build, and `make deny` runs it where it is.

use std::process::Command;

use ::config::{File, FileFormat};
use serde_json::Value;

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

/// Whether an SPDX expression can be met with the allowed licenses: `AND` binds more than `OR`.
fn allowed(expression: &str, allow: &[&str]) -> bool {
    let mut flat = expression.replace('/', " OR ");
    // the innermost parentheses first; each becomes a license that is allowed or not
    while let Some(end) = flat.find(')') {
        let begin = flat[..end].rfind('(').expect("balanced");
        let met = if met(&flat[begin + 1..end], allow) { "yes" } else { "no" };
        flat.replace_range(begin..=end, met);
    }
    met(&flat, allow)
}

fn met(flat: &str, allow: &[&str]) -> bool {
    let one = |license: &str| license.trim() == "yes" || allow.contains(&license.trim());
    flat.split(" OR ").any(|all| all.split(" AND ").all(one))
}

#[test]
fn expressions_of_licenses_are_understood() {
    let allow = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("(GPL-3.0 OR MIT) AND BSD-3-Clause", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(allowed(expression, &allow), expected, "{expression}");
    }
}

#[test]
fn every_dependency_has_an_allowed_license_and_source() {
    let (rules, packages) = rules_and_packages();
    let licenses = texts(&rules["licenses"]["allow"]);
    let registries = texts(&rules["sources"]["allow-registry"]);
    let bans = rules["bans"]["deny"].as_array().unwrap();
    let banned: Vec<_> = bans.iter().map(|ban| ban["crate"].as_str().unwrap()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let license = package["license"].as_str().unwrap_or("none");
        assert!(allowed(license, &licenses), "{name}: license {license}");
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
