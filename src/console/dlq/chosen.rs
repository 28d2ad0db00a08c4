//! Messages of the DLQ that a person has chosen: a list that stays as it was shown, whatever comes meanwhile. Pure.

use crate::schedule::UnixMs;

/// More than so many, and their number has to be typed.
pub const UNTYPED: usize = 100;

/// A frozen list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// What a form names it by.
    pub token: String,
    pub ids: Vec<String>,
    /// What was asked for, in words.
    pub filter: String,
    pub at: UnixMs,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    #[error("the list is not there any more: another was made since, or it was used. Choose again")]
    Gone,
    #[error("type the number of messages, {0}, to show that all of them are meant")]
    Untyped(usize),
}

impl Chosen {
    /// Whether a form means this list, and all of it.
    pub fn is_meant(&self, token: Option<&str>, typed: Option<&str>) -> Result<(), NotDone> {
        if token != Some(&self.token) {
            return Err(NotDone::Gone);
        }
        let count = self.ids.len();
        let typed = typed.map(|typed| typed.replace([',', ' ', '.', '\''], ""));
        let is_typed = typed.is_some_and(|typed| typed == count.to_string());
        if count > UNTYPED && !is_typed { Err(NotDone::Untyped(count)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(count: usize) -> Chosen {
        let ids = (0..count).map(|at| at.to_string()).collect();
        Chosen { token: "t".into(), ids, filter: "all".into(), at: UnixMs(0) }
    }

    #[test]
    fn many_are_meant_only_with_their_number() {
        assert_eq!(chosen(UNTYPED).is_meant(Some("t"), None), Ok(()));
        let many = chosen(1_812);
        for wrong in [None, Some(""), Some("812"), Some("1,813"), Some("x1812")] {
            assert_eq!(many.is_meant(Some("t"), wrong), Err(NotDone::Untyped(1_812)));
        }
        for right in ["1812", "1,812", "1 812"] {
            assert_eq!(many.is_meant(Some("t"), Some(right)), Ok(()));
        }
        for wrong in [None, Some(""), Some("u")] {
            assert_eq!(many.is_meant(wrong, Some("1812")), Err(NotDone::Gone));
        }
    }
}
