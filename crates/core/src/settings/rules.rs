//! In: a configuration, and the rules it breaks one by one. Out: a fault for each.

use super::fault::Fault;
use super::show;
use super::table::find;
use super::text::{cut, quoted};
use super::values::Config;

/// A broken rule and the keys it was judged by.
pub struct Violation {
    /// What to tell.
    pub fault: Fault,
    /// The keys, the one to blame first.
    pub involves: &'static [&'static str],
    /// The fault shows the item of a list rather than the whole value.
    pub of_an_item: bool,
}

/// Judges one configuration.
pub struct Rules<'a> {
    /// What is judged.
    pub config: &'a Config,
    /// What was found so far.
    pub broken: Vec<Violation>,
}

impl<'a> Rules<'a> {
    /// No rule is broken yet.
    pub fn new(config: &'a Config) -> Self {
        Self { config, broken: Vec::new() }
    }

    /// Blames the first of the keys, and shows its whole value.
    pub fn fail(&mut self, involves: &'static [&'static str], problem: impl Into<String>) {
        let value = find(involves[0]).map(|key| cut(&show::value(key, self.config)));
        self.push(involves, value, problem.into(), false);
    }

    /// Blames the first of the keys, and shows one item of its value.
    pub fn fail_item(
        &mut self,
        involves: &'static [&'static str],
        item: &str,
        problem: impl Into<String>,
    ) {
        self.push(involves, Some(cut(&quoted(item))), problem.into(), true);
    }

    /// The first of the keys is the one to blame.
    pub fn push(
        &mut self,
        involves: &'static [&'static str],
        value: Option<String>,
        problem: String,
        of_an_item: bool,
    ) {
        let fault = Fault { key: involves[0].into(), value, origin: None, problem };
        self.broken.push(Violation { fault, involves, of_an_item });
    }
}
