//! In: the fences of the log. Out: how far ahead any worker may have released since an entry. Pure.

use crate::schedule::UnixMs;

/// The number of an entry, strictly growing over the whole life of a log and never used twice: a registrar
/// begins at its wall clock's ms × 2^20, and at least 2^32 after the last one.
pub type Sequence = u64;

/// The fences after which no other reached further: the sequence numbers grow, the horizons fall. One in
/// ordinary times. A worker whose clock was years ahead leaves one more, which counts only for what was
/// scheduled before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Horizons(Vec<(Sequence, UnixMs)>);

impl Horizons {
    /// A fence stands there, and reaches so far.
    pub fn note(&mut self, sequence: Sequence, horizon: UnixMs) {
        while self.0.pop_if(|(_, earlier)| *earlier <= horizon).is_some() {}
        self.0.push((sequence, horizon));
    }

    /// Nothing due later was released by any fence after this entry.
    pub fn since(&self, sequence: Sequence) -> UnixMs {
        let older = self.0.partition_point(|(noted, _)| *noted <= sequence);
        self.0.get(older).map_or(UnixMs(0), |(_, horizon)| *horizon)
    }

    /// Each with where it stands.
    pub fn iter(&self) -> std::slice::Iter<'_, (Sequence, UnixMs)> {
        self.0.iter()
    }
}
