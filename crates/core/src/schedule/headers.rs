//! The names of all headers that mean something to Dormouse.

/// Milliseconds: the archived plugin's own header.
pub const X_DELAY: &str = "x-delay";
/// Milliseconds, for AMQP 1.0.
pub const DELIVERY_DELAY: &str = "x-opt-delivery-delay";
/// Milliseconds since the epoch, for AMQP 1.0.
pub const DELIVERY_TIME: &str = "x-opt-delivery-time";
/// The header by which a message names its own target exchange.
pub const TARGET_EXCHANGE: &str = "x-target-exchange";
/// Further routing keys: <https://www.rabbitmq.com/docs/sender-selected>.
pub const CC: &str = "CC";
/// RabbitMQ's account of the deaths, the newest first.
pub const X_DEATH: &str = "x-death";

/// Every header of ours begins so.
pub const PREFIX: &str = "x-dormouse-";
pub const ID: &str = "x-dormouse-id";
/// By what a client calls a message, to cancel or reschedule it: [`Key`](crate::control::Key).
pub const KEY: &str = "x-dormouse-key";
/// What a unique schedule does if one with its key is to come: `replace` or `keep`.
pub const IF_EXISTS: &str = "x-dormouse-if-exists";
pub const DUE_MS: &str = "x-dormouse-due-ms";
pub const ATTEMPT: &str = "x-dormouse-attempt";
pub const RETRY_AT_MS: &str = "x-dormouse-retry-at-ms";
pub const USER_ID: &str = "x-dormouse-user-id";
pub const REASON: &str = "x-dormouse-reason";
pub const DETAIL: &str = "x-dormouse-detail";
pub const FIRST_FAILURE_MS: &str = "x-dormouse-first-failure-ms";
pub const LAST_FAILURE_MS: &str = "x-dormouse-last-failure-ms";
pub const EXCHANGE: &str = "x-dormouse-exchange";
pub const ROUTING_KEY: &str = "x-dormouse-routing-key";
/// How often a consumer has rejected the message and got it back; absent the first time.
pub const RETRIES: &str = "x-dormouse-retries";
/// How often it came to a delay exchange as a dead letter, absent if never.
pub const ROUNDS: &str = "x-dormouse-rounds";
/// When it was dead-lettered, and why: `2027-01-01T09:00:00.000Z rejected`, oldest first.
pub const HISTORY: &str = "x-dormouse-history";
/// Where it was published to the first time, on its way back to a queue.
pub const FIRST_EXCHANGE: &str = "x-dormouse-first-exchange";
pub const FIRST_ROUTING_KEY: &str = "x-dormouse-first-routing-key";
/// The publisher's `CC`, where a `CC` would take the message to other queues.
pub const FIRST_CC: &str = "x-dormouse-first-cc";
/// The queue that a message in the DLQ was to be brought back to.
pub const QUEUE: &str = "x-dormouse-queue";
/// Names of client headers that were left out of a DLQ copy for want of room in a frame.
pub const DROPPED: &str = "x-dormouse-dropped-headers";
/// The property bytes (flags and values) of a message that could not be read, as they came.
pub const RAW_PROPERTIES: &str = "x-dormouse-raw-properties";
pub const RAW_ROUTING_KEY: &str = "x-dormouse-raw-routing-key";
pub const ORIGIN: &str = "x-dormouse-origin";
/// [`ORIGIN`] of a message that is dead and sleeps until the DLQ has room. Another name, so that a worker
/// that does not know of it finds no stamp, and never takes the message to its target.
pub const DEAD_ORIGIN: &str = "x-dormouse-dead-origin";
/// The `reply_to` that RabbitMQ takes from nobody but the channel that consumes the replies.
pub const REPLY_TO: &str = "x-dormouse-reply-to";
/// AMQP 0-9-1 short strings.
pub const MAX_KEY_BYTES: usize = 255;

/// Whether a header is in our namespace.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}
