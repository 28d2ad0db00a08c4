//! In: a configuration. Out: the rules that it breaks about a proxy that logs people into the console.

use super::rules::Rules;

const USER: &[&str] = &["console.proxy_user_header"];
const GROUPS: &[&str] = &["console.proxy_groups_header", "console.proxy_user_header"];

/// Headers that say something else.
const TAKEN: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "forwarded",
    "host",
    "origin",
    "referer",
    "x-dormouse-proxy-password",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// A login by a proxy's word is off, or only that proxy can give it and it says what somebody may.
pub(super) fn check(rules: &mut Rules) {
    let (console, proxies) = (&rules.config.console, &rules.config.api.trusted_proxies);
    patterns(rules, &["console.proxy_look"], &console.proxy_look);
    patterns(rules, &["console.proxy_act"], &console.proxy_act);
    let (user, groups) = (&console.proxy_user_header, &console.proxy_groups_header);
    for (key, header) in [(USER, user), (GROUPS, groups)] {
        if !header.is_empty() && !is_header(header) {
            rules.fail(key, "is no name of a header, or of one that says something else");
        }
    }
    if !groups.is_empty() && groups.eq_ignore_ascii_case(user) {
        rules.fail(GROUPS, "is the header of the user");
    }
    let is_set = console.proxy_password_file.is_some()
        || !groups.is_empty()
        || !console.proxy_look.is_empty()
        || !console.proxy_act.is_empty();
    if user.is_empty() {
        if is_set {
            rules.fail(USER, "is empty, and so the keys beside it are of no use");
        }
        return;
    }
    if proxies.is_empty() {
        rules.fail(
            &["console.proxy_user_header", "api.trusted_proxies"],
            "is believed of nobody: name in api.trusted_proxies who sends it",
        );
    }
    if console.proxy_password_file.is_none() {
        rules.fail(
            &["console.proxy_user_header", "console.proxy_password_file"],
            "could be sent by every program on the proxy's machine: give console.proxy_password_file, and have the proxy \
             send what is in it as X-Dormouse-Proxy-Password",
        );
    }
    if console.proxy_look.is_empty() && console.proxy_act.is_empty() {
        rules.fail(
            &["console.proxy_user_header", "console.proxy_look", "console.proxy_act"],
            "lets nobody in: say who in console.proxy_look and console.proxy_act",
        );
    }
}

fn patterns(rules: &mut Rules, key: &'static [&'static str], patterns: &[String]) {
    for pattern in patterns {
        let is_of_one = pattern.starts_with("user:") || pattern.starts_with("group:");
        if !is_of_one || regex::Regex::new(pattern).is_err() {
            rules.fail_item(
                key,
                pattern,
                "is no regular expression that begins with user: or group:",
            );
        }
    }
}

/// Whether it can be the name of a header, and of none that says something else.
fn is_header(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    name.len() <= 64
        && name.bytes().all(is_plain)
        && !TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_a_proxy_is_no_other() {
        for right in ["X-Forwarded-User", "remote_user"] {
            assert!(is_header(right), "{right}");
        }
        for wrong in ["X User", "x:y", "ä", "Cookie", "X-Forwarded-For", "authorization"] {
            assert!(!is_header(wrong), "{wrong}");
        }
    }
}
