//! Looks at the DLQ, one at a time.

use crate::api::look::turn;
use crate::api::problem::{Kind, Problem};
use crate::api::trouble;
use crate::console::visitor::Visitor;
use crate::operate::dlq::{self, DlqError, Entry, Listed, Selection};

/// What was seen.
pub struct Looked {
    pub listed: Listed,
    /// Messages that are in other hands.
    pub missed: u32,
}

/// The oldest `most` of them, without their bodies.
///
/// Errors: RabbitMQ does not let the user, or cannot be reached.
pub async fn all(visitor: &Visitor, most: usize) -> Result<Looked, Problem> {
    let (api, caller, mut missed) = (&visitor.site.api, visitor.caller().await?, 0);
    let (_turn, _look) = (turn(api).await?, api.dlq.lock().await);
    let listed = dlq::list(&caller.login.config, &Selection::All, most, |some| missed = some).await;
    Ok(Looked { listed: listed.map_err(problem)?, missed })
}

/// One of them, and how often it is there.
///
/// Errors: as above, or it is not there.
pub async fn one(visitor: &Visitor, id: &str) -> Result<(Entry, u64), Problem> {
    let (api, caller) = (&visitor.site.api, visitor.caller().await?);
    let (_turn, _look) = (turn(api).await?, api.dlq.lock().await);
    dlq::show(&caller.login.config, id, |_| ()).await.map_err(problem)
}

/// What went wrong with a look.
pub fn problem(error: DlqError) -> Problem {
    match error {
        DlqError::Amqp(error) => trouble::amqp(&error),
        error @ DlqError::NoQueue(_) => Problem::new(Kind::TopologyHole, error.to_string()),
        error @ DlqError::NoSuchId(_) => Problem::new(Kind::NotFound, error.to_string()),
        error @ DlqError::Ambiguous { .. } => Problem::new(Kind::Invalid, error.to_string()),
        error @ DlqError::Unreadable(_) => Problem::new(Kind::Internal, error.to_string()),
    }
}
