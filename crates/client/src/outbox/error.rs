//! What can go wrong between an outbox and its database.

use tokio_postgres::error::SqlState;

use crate::error::Problem;

/// Why a row was not inserted, or a relay cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The message cannot be published, now or later: nothing was inserted.
    #[error(transparent)]
    Message(#[from] Problem),
    /// The database answered with an error: the transaction cannot be committed any more.
    #[error("PostgreSQL refused: {problem}")]
    Refused {
        /// In its words, with its SQLSTATE.
        problem: String,
    },
    /// The database cannot be reached, or gave no answer.
    #[error("PostgreSQL is not available: {0}")]
    Unavailable(String),
}

impl From<tokio_postgres::Error> for OutboxError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            // the error names only the step that failed; the reason is in its source
            let source = std::error::Error::source(&error);
            let source = source.map(|source| format!(": {source}")).unwrap_or_default();
            return Self::Unavailable(format!("{error}{source}"));
        };
        let (message, code) = (said.message(), said.code().code());
        if !is_about_the_table(said.code()) {
            return Self::Unavailable(format!("{message} (SQLSTATE {code})"));
        }
        let is_missing = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN];
        let is_missing = is_missing.contains(said.code()) && message.contains("dormouse_outbox");
        let hint = if is_missing { "; `dormouse outbox ddl` prints what makes it" } else { "" };
        Self::Refused { problem: format!("{message} (SQLSTATE {code}){hint}") }
    }
}

/// Whether no time heals it: what was asked is wrong, or not allowed. Anything else (a restart, a failover, a deadlock, no
/// connection left) is of the moment. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_about_the_table(code: &SqlState) -> bool {
    // syntax and access, data, integrity, authorization, catalog
    ["42", "22", "23", "28", "3D"].iter().any(|class| code.code().starts_with(class))
}
