//! What AMQP does not tell about a queue is asked of the management API, with the feature `management`.

use crate::config::Config;
use crate::inventory::QueueInfo;

/// Asks until `read` can tell from the answer, for 12 s. None if the statistics do not tell by then.
///
/// Errors: the management API cannot be asked, in words.
#[cfg(feature = "management")]
pub(crate) async fn queue<T>(
    config: &Config,
    queue: &str,
    read: impl Fn(&QueueInfo) -> Option<T>,
) -> Result<Option<T>, String> {
    // a queue's policy is known to the management API some seconds after its declare
    for _ in 0..12 {
        let found = crate::management::Management::queue(&config.broker, queue).await?;
        if let Some(told) = found.as_ref().and_then(&read) {
            return Ok(Some(told));
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    Ok(None)
}

/// Without the feature nothing is asked.
#[cfg(not(feature = "management"))]
pub(crate) async fn queue<T>(
    _config: &Config,
    _queue: &str,
    _read: impl Fn(&QueueInfo) -> Option<T>,
) -> Result<Option<T>, String> {
    Err("dormouse-client was built without its feature `management`".to_owned())
}
