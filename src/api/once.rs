//! The header `Idempotency-Key`: of a request that may be repeated.
//! <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07>

use std::time::Instant;

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::memory::{Answer, Begin, Memory, Running};
use super::problem::{Kind, Problem};
use crate::schedule::UnixMs;

const HEADER: &str = "idempotency-key";
const LONGEST: usize = 255;

/// Of message ids that are made of a caller and its key: the same in every process, for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x4c1d_6a0e_0d86_4b7b_9b52_6f21_7d3a_91c5);

/// A request with a key that has to be carried out, or one without.
pub struct Once {
    /// Of the caller and its key.
    id: Option<Uuid>,
    running: Option<Running>,
    /// When it was taken, at the first time.
    pub taken: UnixMs,
}

/// What to do with a request.
pub enum Turn {
    GoOn(Once),
    /// It was carried out before.
    Repeat(Answer),
}

impl Once {
    /// Errors: the header cannot be read, another request had this key, or the same one is under way.
    pub fn begin(
        memory: &Memory,
        headers: &HeaderMap,
        caller: &str,
        request: [&[u8]; 2],
        taken: UnixMs,
    ) -> Result<Turn, Problem> {
        let Some(key) = key(headers)? else {
            return Ok(Turn::GoOn(Self { id: None, running: None, taken }));
        };
        // neither has a 0 byte
        let name = format!("{caller}\0{key}");
        let id = Some(Uuid::new_v5(&NAMESPACE, name.as_bytes()));
        let mut digest = Sha256::new();
        request.iter().for_each(|part| digest.update(part));
        match memory.begin(&name, digest.finalize().into(), Instant::now(), taken)? {
            Begin::Done(answer) => Ok(Turn::Repeat(answer)),
            Begin::New(running) => {
                let taken = running.taken;
                Ok(Turn::GoOn(Self { id, running: Some(running), taken }))
            }
        }
    }

    /// The id of the message, the only one or that of this number: the same whenever the request comes again.
    pub fn message_id(&self, number: Option<usize>) -> String {
        let id = match (self.id, number) {
            (Some(id), None) => id,
            (Some(id), Some(number)) => Uuid::new_v5(&id, &(number as u64).to_be_bytes()),
            (None, _) => Uuid::now_v7(),
        };
        id.to_string()
    }

    /// The same request gets this answer from now on.
    pub fn done(self, answer: Answer) {
        if let Some(running) = self.running {
            running.done(answer);
        }
    }

    /// Nothing was published, or nobody knows.
    pub fn failed(self, may_be_published: bool) {
        match self.running {
            Some(running) if may_be_published => running.unknown(),
            Some(running) => running.refused(),
            None => {}
        }
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(HEADER).iter();
    let Some(header) = all.next() else { return Ok(None) };
    let invalid = |what: &str| Problem::new(Kind::Invalid, format!("the Idempotency-Key {what}"));
    if all.next().is_some() {
        return Err(invalid("is there twice"));
    }
    let text = header.to_str().map_err(|_| invalid("is no printable ASCII"))?.trim();
    // a string of structured fields, or what people write
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    match key.len() {
        0 => Err(invalid("is empty")),
        1..=LONGEST => Ok(Some(key.to_owned())),
        _ => Err(invalid(&format!("has more than {LONGEST} characters"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(memory: &Memory, caller: &str, key: &str, body: &str) -> Result<Once, Kind> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, key.parse().unwrap());
        let request = [b"POST".as_slice(), body.as_bytes()];
        match Once::begin(memory, &headers, caller, request, UnixMs(1)) {
            Ok(Turn::GoOn(once)) => Ok(once),
            Ok(Turn::Repeat(_)) => panic!("nothing is done"),
            Err(problem) => Err(problem.kind),
        }
    }

    #[test]
    fn an_id_is_of_caller_and_key_in_every_process() {
        let ids = |caller: &str, key: &str| {
            let once = begin(&Memory::default(), caller, key, "x").ok().unwrap();
            (once.message_id(None), once.message_id(Some(1)))
        };
        assert_eq!(ids("shop", "a"), ids("shop", "\"a\""));
        assert_eq!(ids("shop", "a").0, "9b103620-7897-5bc8-92c5-d1c7bb03ce51");
        assert_ne!(ids("shop", "a"), ids("other", "a"));
        assert_ne!(ids("shop", "a").0, ids("shop", "a").1);
        for wrong in ["", "\"\"", &"x".repeat(256)] {
            assert_eq!(begin(&Memory::default(), "shop", wrong, "x").err(), Some(Kind::Invalid));
        }
        let memory = Memory::default();
        let once = begin(&memory, "shop", "a", "x").ok().unwrap();
        assert!(begin(&memory, "other", "a", "y").is_ok(), "each caller has its own");
        once.failed(false);
        assert!(begin(&memory, "shop", "a", "y").is_ok(), "it is free again");
    }
}
