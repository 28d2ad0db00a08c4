//! The pages that the navigation leads to, in its order. A page is a line here, and has its link, its key, its line in the
//! help, and its look in every test of the pages.

/// Where in the navigation a page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Sky,
    Cascade,
    List,
    Schedules,
    Dlq,
    Retries,
    Lateness,
    Topology,
    Workers,
    Endpoints,
    Doctor,
}

/// A page of the navigation.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    pub place: Place,
    pub path: &'static str,
    pub name: &'static str,
    /// Leads there, behind `g`.
    pub key: char,
}

/// All of them.
pub const PLACES: &[Shown] = &[
    shown(Place::Sky, "/", "Sky", 's'),
    shown(Place::Cascade, "/cascade", "Cascade", 'c'),
    shown(Place::List, "/list", "List", 'l'),
    shown(Place::Schedules, "/schedules", "Schedules", 'u'),
    shown(Place::Dlq, "/dlq", "DLQ", 'd'),
    shown(Place::Retries, "/retries", "Retries", 'r'),
    shown(Place::Lateness, "/lateness", "Lateness", 'a'),
    shown(Place::Topology, "/topology", "Topology", 't'),
    shown(Place::Workers, "/workers", "Workers", 'w'),
    shown(Place::Endpoints, "/endpoints", "Endpoints", 'e'),
    shown(Place::Doctor, "/doctor", "Doctor", 'o'),
];

const fn shown(place: Place, path: &'static str, name: &'static str, key: char) -> Shown {
    Shown { place, path, name, key }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_page_has_a_path_and_a_key_of_its_own() {
        let paths: BTreeSet<_> = PLACES.iter().map(|shown| shown.path).collect();
        let keys: BTreeSet<_> = PLACES.iter().map(|shown| shown.key).collect();
        assert_eq!((paths.len(), keys.len()), (PLACES.len(), PLACES.len()));
        // g begins them
        assert!(!keys.contains(&'g'));
    }
}
