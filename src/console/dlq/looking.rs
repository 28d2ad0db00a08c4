//! Looks at the DLQ, one at a time.

use crate::api::dlq::trouble;
use crate::api::look::turn;
use crate::api::problem::Problem;
use crate::console::visitor::Visitor;
use crate::operate::dlq::{self, Entry, Listed, Selection};

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
    Ok(Looked { listed: listed.map_err(trouble)?, missed })
}

/// One of them, and how often it is there.
///
/// Errors: as above, or it is not there.
pub async fn one(visitor: &Visitor, id: &str) -> Result<(Entry, u64), Problem> {
    let (api, caller) = (&visitor.site.api, visitor.caller().await?);
    let (_turn, _look) = (turn(api).await?, api.dlq.lock().await);
    dlq::show(&caller.login.config, id, |_| ()).await.map_err(trouble)
}
