//! One question and its answer.

use serde::Serialize;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// It was seen to be as it should be.
    Pass,
    /// Worth a change, and nothing is lost by it today.
    Warn,
    /// It loses, delays, duplicates or freezes messages, or lets nobody notice that something does.
    Fail,
    /// It could not be seen: never a pass by absence.
    Unseen,
}

impl Grade {
    /// From good to bad, and what is not known.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Warn, Self::Fail, Self::Unseen];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unseen => "unseen",
        }
    }
}

/// One question, what was seen, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A contract: programs look for it.
    pub name: &'static str,
    /// What is asked, as a sentence that is true if all is well.
    pub asks: &'static str,
    pub grade: Grade,
    /// What was read.
    pub evidence: String,
    /// Where.
    pub from: &'static str,
    /// What to do. Empty if there is nothing.
    pub next: String,
}

/// A question that is not answered yet.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    pub name: &'static str,
    pub asks: &'static str,
    pub from: &'static str,
}

impl Question {
    pub fn pass(self, evidence: impl Into<String>) -> Check {
        self.answer(Grade::Pass, evidence, "")
    }

    pub fn warn(self, evidence: impl Into<String>, next: impl Into<String>) -> Check {
        self.answer(Grade::Warn, evidence, next)
    }

    pub fn fail(self, evidence: impl Into<String>, next: impl Into<String>) -> Check {
        self.answer(Grade::Fail, evidence, next)
    }

    pub fn unseen(self, why: impl Into<String>, next: impl Into<String>) -> Check {
        self.answer(Grade::Unseen, why, next)
    }

    fn answer(self, grade: Grade, evidence: impl Into<String>, next: impl Into<String>) -> Check {
        let Self { name, asks, from } = self;
        Check { name, asks, grade, evidence: evidence.into(), from, next: next.into() }
    }
}
