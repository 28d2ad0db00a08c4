//! What the HTTP API asks of the index: parameters → a question → its answer, or a problem that says what is wrong.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use crate::api;
use crate::api::problem::{Kind, Problem};
use crate::api::question::Question;
use crate::cascade::Cascade;
use crate::config::Config;
use crate::index::{
    AskError, Filter, Index, IndexError, MOST_ON_A_PAGE, Noted, Page, Row, State, Step, counted,
    found, with,
};
use crate::operate::When;
use crate::schedule::UnixMs;
use crate::worker::Clock;

/// Messages of a page that nobody has asked to be of another length.
const ON_A_PAGE: usize = 50;

/// Answers from the file of the configuration. None: it names none.
pub fn answering(config: &Config, clock: &Clock) -> Option<api::Index> {
    config.index.file.as_ref()?;
    let asked = Arc::new(Asked {
        config: config.clone(),
        cascade: Cascade::of(config),
        clock: clock.clone(),
        index: OnceLock::new(),
    });
    Some(Arc::new(move |question| {
        let asked = asked.clone();
        // SQLite reads from a disk
        let answer = tokio::task::spawn_blocking(move || asked.answer(question));
        async move {
            answer.await.unwrap_or_else(|_| Err(Problem::new(Kind::Internal, "the index failed")))
        }
        .boxed()
    }))
}

struct Asked {
    config: Config,
    cascade: Cascade,
    clock: Clock,
    /// As soon as its file is there.
    index: OnceLock<Index>,
}

impl Asked {
    fn index(&self) -> Result<&Index, Problem> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let opened = Index::of(&self.config)?;
        Ok(self.index.get_or_init(|| opened))
    }

    fn answer(&self, question: Question) -> Result<Json, Problem> {
        let (index, now) = (self.index()?, self.clock.now());
        match question {
            Question::Messages(parameters) => {
                let mut given = Given(parameters);
                let limit = given.parsed("limit", "a number of 1 to 200")?.unwrap_or(ON_A_PAGE);
                if !(1..=MOST_ON_A_PAGE).contains(&limit) {
                    let detail = format!("limit is {limit}: give 1 to {MOST_ON_A_PAGE}");
                    return Err(Problem::new(Kind::Invalid, detail));
                }
                let cursor = given.take("cursor");
                let filter = given.filter()?;
                let answer = index.list(&filter, limit, cursor.as_deref(), now)?;
                Ok(Page::document(&answer))
            }
            Question::Count(parameters) => {
                let filter = Given(parameters).filter()?;
                Ok(counted(&index.count(&filter, now)?))
            }
            Question::Message(of) => {
                let (rows, lacks) = self.rows(&of, now)?;
                let newest = &rows[0];
                let mut document = self.found(index, newest, now)?;
                if rows.len() > 1 {
                    let others = rows[1..].iter().map(|row| row.document(now));
                    document["earlier"] = others.collect();
                }
                Ok(with(&lacks, document))
            }
            Question::History(of) => {
                let (rows, lacks) = self.rows(&of, now)?;
                let history = index.history(&rows[0].id, now)?.value;
                Ok(with(&lacks, json!({ "id": rows[0].id, "history": history })))
            }
            Question::Load(parameters) => self.load(index, Given(parameters), now),
            Question::Lateness => {
                let answer = index.lateness(self.cascade.layout(), now)?;
                Ok(with(&answer.completeness, json!(answer.value)))
            }
            Question::Retrying => {
                let answer = index.retrying(now)?;
                Ok(with(&answer.completeness, json!({ "groups": answer.value })))
            }
            Question::State => {
                let counts = index.count(&Filter::default(), now)?;
                Ok(counted(&counts))
            }
        }
    }

    /// At least one, the newest first.
    fn rows(
        &self,
        of: &str,
        now: UnixMs,
    ) -> Result<(Vec<Row>, crate::index::Completeness), Problem> {
        let answer = self.index()?.find(of, now)?;
        if answer.value.is_empty() {
            let mut detail = format!("the index knows no message with the id or key {of:?}");
            if !answer.completeness.complete {
                detail += ", and it is not complete";
            }
            let problem = Problem::new(Kind::NotFound, detail);
            return Err(problem.with("complete", answer.completeness.complete));
        }
        Ok((answer.value, answer.completeness))
    }

    fn found(&self, index: &Index, row: &Row, now: UnixMs) -> Result<Json, Problem> {
        let history: Vec<Noted> = index.history(&row.id, now)?.value;
        Ok(found(row, &history, &self.cascade, now))
    }

    fn load(&self, index: &Index, mut given: Given, now: UnixMs) -> Result<Json, Problem> {
        let step = given.take("step");
        let (step, hours) = match step.as_deref() {
            Some("minute") => (Step::Minute, 1),
            None | Some("hour") => (Step::Hour, 24),
            Some("day") => (Step::Day, 30 * 24),
            Some(other) => {
                let detail = format!("step is {other:?}: give minute, hour or day");
                return Err(Problem::new(Kind::Invalid, detail));
            }
        };
        let from = given.time("from")?.unwrap_or(now);
        let to = given.time("to")?.unwrap_or(from.plus(Duration::from_secs(hours * 3_600)));
        let target = given.take("target");
        given.none_left()?;
        if to <= from {
            return Err(Problem::new(Kind::Invalid, "to is not after from: no time lies between"));
        }
        let answer = index.load(step, (from, to), target.as_deref(), now)?;
        Ok(with(&answer.completeness, json!(answer.value)))
    }
}

/// Parameters that are not read yet.
struct Given(BTreeMap<String, String>);

impl Given {
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let parsed = text.parse().map(Some);
        parsed.map_err(|_| invalid(name, &text, expected))
    }

    fn time(&mut self, name: &str) -> Result<Option<UnixMs>, Problem> {
        let time = self.parsed::<jiff::Timestamp>(name, "a time with its zone, as RFC 3339")?;
        Ok(time.map(|time| When::At(time).due(UnixMs(0))))
    }

    /// What is to come by default, as the command line has it.
    fn filter(mut self) -> Result<Filter, Problem> {
        let states = self.take("state").unwrap_or_else(|| "scheduled,retrying,overdue".into());
        let states = match states.as_str() {
            "any" => Vec::new(),
            states => {
                let states = states.split(',').map(|state| {
                    state.parse::<State>().map_err(|problem| {
                        Problem::new(Kind::Invalid, format!("{state:?} is {problem}"))
                    })
                });
                states.collect::<Result<_, _>>()?
            }
        };
        let filter = Filter {
            states,
            target: self.take("target"),
            key_prefix: self.take("key_prefix"),
            due_after: self.time("due_after")?,
            due_before: self.time("due_before")?,
        };
        self.none_left()?;
        Ok(filter)
    }

    /// A name that is misspelt must not look as if it had no effect.
    fn none_left(&self) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(Problem::new(Kind::Invalid, format!("there is no parameter {name:?} here")))
            }
        }
    }
}

fn invalid(name: &str, text: &str, expected: &str) -> Problem {
    Problem::new(Kind::Invalid, format!("{name} is {text:?}: it is to be {expected}"))
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        let kind = match error {
            IndexError::NotConfigured | IndexError::NoFile { .. } => Kind::LedgerRequired,
            IndexError::Foreign { .. }
            | IndexError::Newer { .. }
            | IndexError::Corrupt { .. }
            | IndexError::Taken { .. }
            | IndexError::File { .. }
            | IndexError::NoLedger { .. }
            | IndexError::Amqp(_)
            | IndexError::Stopped(_) => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Index(error) => error.into(),
            AskError::Cursor(error) => Self::new(Kind::Invalid, error.to_string()),
            error @ AskError::TooMany { .. } => Self::new(Kind::Invalid, error.to_string()),
        }
    }
}
