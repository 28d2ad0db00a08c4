//! What is set of the console.

use std::path::PathBuf;
use std::time::Duration;

/// The page where a person sees what sleeps. The role `console` serves it, where the HTTP API answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Console {
    /// Before every path of its own, for a proxy that passes it on; empty for `/`.
    pub base_path: String,
    /// Whether it only shows: what acts has no address then.
    pub read_only: bool,
    /// Who has not looked for so long logs in again.
    pub idle: Duration,
    /// In which a trusted proxy says who somebody is; empty: it does not.
    pub proxy_user_header: String,
    /// In which it says of which groups, separated by commas; empty: it does not.
    pub proxy_groups_header: String,
    /// What only the proxy knows beside us.
    pub proxy_password_file: Option<PathBuf>,
    /// Whom it may bring to look: patterns for the whole of `user:NAME` or `group:NAME`.
    pub proxy_look: Vec<String>,
    /// Whom it may bring to look and act.
    pub proxy_act: Vec<String>,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            base_path: String::new(),
            read_only: false,
            idle: Duration::from_secs(1_800),
            proxy_user_header: String::new(),
            proxy_groups_header: String::new(),
            proxy_password_file: None,
            proxy_look: Vec::new(),
            proxy_act: Vec::new(),
        }
    }
}

/// Whether it can stand before a path: empty, or `/` and names between slashes.
pub(super) fn is_base_path(path: &str) -> bool {
    let is_name = |name: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
        !name.is_empty() && !matches!(name, "." | "..") && name.chars().all(is_plain)
    };
    path.is_empty() || path.strip_prefix('/').is_some_and(|names| names.split('/').all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_names_between_slashes() {
        for right in ["", "/dormouse", "/a/b-c_d.e~1"] {
            assert!(is_base_path(right), "{right}");
        }
        for wrong in
            ["/", "dormouse", "/a/", "/a//b", "/..", "/a/./b", "/a b", "/ä", "/a?b", "/%2f"]
        {
            assert!(!is_base_path(wrong), "{wrong}");
        }
    }
}
