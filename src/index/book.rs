//! In: what is known of the messages that some lines speak of, and these lines, in stream order. Out: what is known of
//! them now, and what has to be written. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dormouse_core::ledger::{Asleep, Batch, Event, Line};

use super::fold::{self, Folded, KeyNote};
use super::row::{Noted, Row, State};
use super::writers::{Gap, GapKind, Taken, Writers};
use crate::schedule::UnixMs;

/// What is known of the ledger as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    pub writers: Writers,
    /// What may be missing, and no census has made good.
    pub gaps: Vec<Gap>,
    /// Counts censuses that began.
    pub census: u64,
    /// When the one under way began. None once something was found missing that it may have said.
    pub census_since: Option<UnixMs>,
    /// When the last one ended that counts.
    pub censused: Option<UnixMs>,
}

/// Messages by id, and what was noted of keys: as far as the lines to come need them.
#[derive(Debug, Default)]
pub struct Book {
    entries: HashMap<String, Entry>,
    by_key: HashMap<String, BTreeSet<String>>,
    keys: HashMap<String, (Option<KeyNote>, bool)>,
}

/// A message in the book.
#[derive(Debug)]
pub struct Entry {
    pub row: Row,
    /// As it is stored: its number, and where it counts as load.
    pub stored: Option<Stored>,
    pub history: Vec<Noted>,
    pub is_changed: bool,
}

/// How a message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub number: i64,
    pub load: Option<Slot>,
}

/// Where a message counts as load: the minute since 1970 and the number of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    pub minute: i64,
    pub target: i64,
}

/// What a batch needs of the store before it is noted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub ids: BTreeSet<String>,
    /// All messages of a key, and what was noted of it.
    pub keys: BTreeSet<String>,
    /// What was noted of it.
    pub key_notes: BTreeSet<String>,
}

/// A census has ended: messages that it did not see are to be judged. Nothing else of the batch is noted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// It began then.
    pub since: UnixMs,
    /// It ended then.
    pub at: UnixMs,
    /// What was to come before that has left us, too.
    pub woken: Option<UnixMs>,
}

impl Needs {
    /// Of these lines.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Self {
        let mut needs = Self::default();
        for line in lines {
            match &line.event {
                Event::Scheduled(asleep) | Event::Seen(asleep) => {
                    needs.ids.insert(asleep.id.clone());
                    if let Some(key) = &asleep.key {
                        let of_key = match asleep.generation {
                            Some(_) => &mut needs.keys,
                            None => &mut needs.key_notes,
                        };
                        of_key.insert(key.clone());
                    }
                }
                Event::Failed { id, .. }
                | Event::Rescheduled { id, .. }
                | Event::Delivered { id, .. }
                | Event::Dead { id, .. }
                | Event::Dropped { id, .. } => {
                    needs.ids.insert(id.clone());
                }
                Event::KeyCancelled { key } | Event::KeyRescheduled { key, .. } => {
                    needs.keys.insert(key.clone());
                }
                Event::Gap { .. }
                | Event::CensusBegun
                | Event::CensusEnded { .. }
                | Event::Ended
                | Event::Unknown => {}
            }
        }
        needs
    }
}

impl Ledger {
    /// Notes whose batch it is. False if it has been applied before.
    pub fn take(&mut self, batch: &Batch) -> bool {
        let Batch { writer, batch, at, .. } = batch;
        match self.writers.take(writer, *batch, *at) {
            Taken::Again => return false,
            Taken::Next => {}
            Taken::NextAfterSilence => self.gaps.retain(|gap| !is_silence(gap, writer)),
            Taken::After { missing, since } => {
                self.gaps.retain(|gap| !is_silence(gap, writer));
                self.miss(Gap {
                    kind: GapKind::Batches,
                    writer: Some(writer.clone()),
                    since,
                    until: Some(*at),
                    missing: Some(missing),
                });
            }
        }
        for (writer, since) in self.writers.fall_silent() {
            let (kind, writer) = (GapKind::Silent, Some(writer));
            self.miss(Gap { kind, writer, since: Some(since), until: None, missing: None });
        }
        true
    }

    /// Something may be missing. A census under way may have said it.
    pub fn miss(&mut self, gap: Gap) {
        // of these, one says it all
        let stands = matches!(gap.kind, GapKind::Before | GapKind::Unreadable)
            && self.gaps.iter().any(|other| other.kind == gap.kind);
        if !stands {
            self.gaps.push(gap);
        }
        self.census_since = None;
    }

    /// The last batch of all writers.
    pub fn written(&self) -> Option<UnixMs> {
        self.writers.known.values().map(|writer| writer.at).max()
    }

    fn begin_census(&mut self, at: UnixMs) {
        self.census += 1;
        self.census_since = Some(at);
    }

    /// None if it was not seen from its beginning.
    fn end_census(&mut self, since: UnixMs, at: UnixMs) -> Option<()> {
        self.census_since.take_if(|begun| *begun == since)?;
        self.gaps.clear();
        self.censused = Some(at);
        Some(())
    }
}

fn is_silence(gap: &Gap, writer: &str) -> bool {
    gap.kind == GapKind::Silent && gap.writer.as_deref() == Some(writer)
}

impl Book {
    /// Whether it knows of a message whether it is stored.
    pub fn has(&self, id: &str) -> bool {
        self.entries.contains_key(id)
    }

    /// Whether it has what was noted of a key.
    pub fn has_key_note(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// As it is stored. What the book knows already is newer.
    pub fn put(&mut self, row: Row, stored: Stored) {
        if !self.has(&row.id) {
            self.index(&row);
            let entry = Entry { row, stored: Some(stored), history: Vec::new(), is_changed: false };
            self.entries.insert(entry.row.id.clone(), entry);
        }
    }

    /// What was noted of a key, as it is stored.
    pub fn put_key(&mut self, key: String, note: Option<KeyNote>) {
        self.keys.entry(key).or_insert((note, false));
    }

    /// What has to be written, and an empty book after it.
    pub fn take(&mut self) -> (Vec<Entry>, BTreeMap<String, KeyNote>) {
        self.by_key.clear();
        let entries = self.entries.drain().map(|(_, entry)| entry);
        let mut entries: Vec<_> = entries.filter(|entry| entry.is_changed).collect();
        // neighbours are stored together
        entries.sort_unstable_by(|a, b| a.row.id.cmp(&b.row.id));
        let keys = self.keys.drain();
        let keys = keys.filter_map(|(key, (note, changed))| changed.then_some((key, note?)));
        (entries, keys.collect())
    }

    /// So many messages.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes a line of a batch that counts. A census that ended is to be judged before the next line.
    pub fn note(&mut self, ledger: &mut Ledger, writer: &str, line: &Line) -> Option<Judgement> {
        let at = line.at;
        match &line.event {
            Event::Scheduled(asleep) => self.asleep(ledger.census, asleep, at, fold::scheduled),
            Event::Seen(asleep) => self.asleep(ledger.census, asleep, at, fold::seen),
            Event::Failed { id, attempt, reason, detail, wake } => {
                let why = (reason.as_str(), detail.as_str());
                self.change(id, |row| fold::failed(row, id, at, *attempt, why, *wake));
                self.sleeps_since(id, ledger.census);
            }
            Event::Rescheduled { id, wake } => {
                self.change(id, |row| fold::rescheduled(row, id, at, *wake));
                self.sleeps_since(id, ledger.census);
            }
            Event::Delivered { id, wake, attempt } => {
                self.change(id, |row| fold::delivered(row, id, at, *wake, *attempt));
            }
            Event::Dead { id, reason, detail } => {
                let detail = Some(detail.as_str());
                self.change(id, |row| fold::ended(row, id, at, State::Dead, reason, detail));
            }
            Event::Dropped { id, cause } => {
                self.change(id, |row| fold::ended(row, id, at, State::Dropped, cause, None));
            }
            Event::KeyCancelled { key } => {
                self.note_key(key, |note| KeyNote { cancelled: true, at, ..note });
                self.change_key(key, |row| fold::key_cancelled(row, at));
            }
            Event::KeyRescheduled { key, due } => {
                self.note_key(key, |note| KeyNote { not_before: *due, at, ..note });
                self.change_key(key, |row| fold::key_rescheduled(row, at, *due));
            }
            Event::Gap { events, since } => ledger.miss(Gap {
                kind: GapKind::GivenUp,
                writer: Some(writer.to_owned()),
                since: Some(*since),
                until: Some(at),
                missing: Some(*events),
            }),
            Event::CensusBegun => ledger.begin_census(at),
            Event::CensusEnded { since, woken } => {
                let (since, woken) = (*since, *woken);
                return ledger.end_census(since, at).map(|()| Judgement { since, at, woken });
            }
            Event::Ended => ledger.writers.end(writer),
            Event::Unknown => {}
        }
        None
    }

    /// A census that ended at `at` did not find it.
    pub fn miss(&mut self, id: &str, at: UnixMs) {
        self.change(id, |row| fold::missed(row.unwrap_or_else(|| Row::new(id)), at));
    }

    fn asleep(
        &mut self,
        census: u64,
        asleep: &Asleep,
        at: UnixMs,
        fold: impl FnOnce(Option<Row>, &Asleep, UnixMs, Option<KeyNote>) -> Folded,
    ) {
        let note = asleep.key.as_ref().and_then(|key| self.keys.get(key)?.0);
        self.change(&asleep.id, |row| fold(row, asleep, at, note));
        self.sleeps_since(&asleep.id, census);
        if let (Some(key), Some(generation)) = (&asleep.key, asleep.generation) {
            self.replace(key, generation, at);
        }
    }

    /// Of the unique schedules of a key, the newest comes.
    fn replace(&mut self, key: &str, generation: u64, at: UnixMs) {
        let ids = self.by_key.get(key).into_iter().flatten();
        let of = |id: &String| self.entries[id].row.generation;
        let newest = ids.clone().filter_map(of).max().unwrap_or(generation);
        let older: Vec<_> =
            ids.filter(|id| of(id).is_some_and(|of| of < newest)).cloned().collect();
        older.iter().for_each(|id| self.change_known(id, |row| fold::replaced(row, at)));
    }

    fn change(&mut self, id: &str, fold: impl FnOnce(Option<Row>) -> Folded) {
        let known = self.entries.get(id).map(|entry| entry.row.clone());
        let (row, noted) = fold(known.clone());
        if known.as_ref() == Some(&row) && noted.is_none() {
            return;
        }
        self.index(&row);
        let entry = self.entries.entry(id.to_owned()).or_insert_with(|| Entry {
            row: row.clone(),
            stored: None,
            history: Vec::new(),
            is_changed: true,
        });
        (entry.row, entry.is_changed) = (row, true);
        entry.history.extend(noted);
    }

    fn change_known(&mut self, id: &str, fold: impl FnOnce(Row) -> Folded) {
        if self.has(id) {
            self.change(id, |row| fold(row.unwrap_or_else(|| Row::new(id))));
        }
    }

    fn change_key(&mut self, key: &str, mut fold: impl FnMut(Row) -> Folded) {
        let ids = self.by_key.get(key).cloned().unwrap_or_default();
        ids.iter().for_each(|id| self.change_known(id, &mut fold));
    }

    fn note_key(&mut self, key: &str, change: impl FnOnce(KeyNote) -> KeyNote) {
        let (note, is_changed) = self.keys.entry(key.to_owned()).or_default();
        *note = Some(change(note.unwrap_or_default()));
        *is_changed = true;
    }

    /// A census that began before this cannot miss it.
    fn sleeps_since(&mut self, id: &str, census: u64) {
        if let Some(entry) = self.entries.get_mut(id)
            && entry.row.census != census
        {
            (entry.row.census, entry.is_changed) = (census, true);
        }
    }

    fn index(&mut self, row: &Row) {
        if let Some(key) = &row.key {
            let ids = self.by_key.entry(key.clone()).or_default();
            if !ids.contains(&row.id) {
                ids.insert(row.id.clone());
            }
        }
    }
}
