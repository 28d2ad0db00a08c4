//! What is set of the console.

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
}

impl Default for Console {
    fn default() -> Self {
        Self { base_path: String::new(), read_only: false, idle: Duration::from_secs(1_800) }
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
