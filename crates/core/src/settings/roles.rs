//! In: a configuration. Out: the rules that it breaks about roles and the HTTP API.

use std::collections::BTreeSet;

use super::console::is_base_path;
use super::proxy_login;
use super::rules::Rules;
use super::service::{Role, network};

pub(super) fn check(rules: &mut Rules) {
    const ROLES: &[&str] = &["service.roles"];
    let config = rules.config;
    let roles = &config.service.roles;
    if roles.is_empty() {
        rules.fail(ROLES, "must be some of worker, index, api, webhooks, console");
    }
    let mut seen = BTreeSet::new();
    for name in roles {
        if !Role::ALL.iter().any(|role| role.name() == name) {
            rules.fail_item(
                ROLES,
                name,
                "is no role; must be some of worker, index, api, webhooks, console",
            );
        } else if !seen.insert(name) {
            rules.fail_item(ROLES, name, "is there twice");
        }
    }
    let api = &config.api;
    match (&api.cert_file, &api.key_file) {
        (Some(_), None) => rules.fail(&["api.cert_file", "api.key_file"], "needs api.key_file too"),
        (None, Some(_)) => {
            rules.fail(&["api.key_file", "api.cert_file"], "needs api.cert_file too");
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    for proxy in &api.trusted_proxies {
        if network(proxy).is_none() {
            let problem = "is no IP address or network such as 10.0.0.0/8";
            rules.fail_item(&["api.trusted_proxies"], proxy, problem);
        }
    }
    if !is_base_path(&config.console.base_path) {
        rules.fail(&["console.base_path"], "is no path such as /dormouse, without a / at its end");
    }
    proxy_login::check(rules);
    if !config.service.answers_http() {
        return;
    }
    match api.listen {
        None => rules.fail(&["api.listen", "service.roles"], "is empty, and the role needs it"),
        Some(address) => {
            let apart = address.ip().is_loopback() || api.cert_file.is_some();
            if !apart && api.trusted_proxies.is_empty() {
                rules.fail(
                    &["api.listen", "api.cert_file", "api.trusted_proxies", "service.roles"],
                    "is reached from other machines, and passwords would go over the network as they are: set \
                     api.cert_file and api.key_file, or name in api.trusted_proxies who ends TLS before it",
                );
            }
        }
    }
}
