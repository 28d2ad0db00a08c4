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
/// The same from intake to target, over all attempts: a UUIDv7.
pub const ID: &str = "x-dormouse-id";
/// By what a client calls a message, to cancel or reschedule it: [`Key`](crate::control::Key).
pub const KEY: &str = "x-dormouse-key";
/// Of a message with a key: the log of commands that was there when it was taken in, in 16 hexadecimal digits.
pub const LOG: &str = "x-dormouse-log";
/// Of a unique schedule: grows with each that takes its key, so a consumer can tell the newest.
pub const GENERATION: &str = "x-dormouse-generation";
/// Of a message that a run-now has brought forward: the number of the entry in the log of commands.
pub const MOVED: &str = "x-dormouse-moved";
/// What a unique schedule does if one with its key is to come: `replace` or `keep`.
pub const IF_EXISTS: &str = "x-dormouse-if-exists";
/// Of what a recurring schedule fires: its name.
pub const SCHEDULE: &str = "dormouse-schedule";
/// Of what a recurring schedule fires: when by its rule, ms since the epoch.
pub const TICK_MS: &str = "dormouse-tick-ms";
/// Of what a recurring schedule fires: counts its runs, from 1.
pub const RUN: &str = "dormouse-run";
/// The name of an endpoint of webhooks.
pub const ENDPOINT: &str = "dormouse-endpoint";
/// Below the endpoint's address.
pub const ENDPOINT_PATH: &str = "dormouse-path";
/// When its client wanted it, ms since the epoch.
pub const DUE_MS: &str = "x-dormouse-due-ms";
/// The delivery about to be made, from 1.
pub const ATTEMPT: &str = "x-dormouse-attempt";
/// When the next attempt is, ms since the epoch.
pub const RETRY_AT_MS: &str = "x-dormouse-retry-at-ms";
/// The property `user_id` of its publish.
pub const USER_ID: &str = "x-dormouse-user-id";
/// Why it is in the DLQ: [`Reason`](super::Reason).
pub const REASON: &str = "x-dormouse-reason";
/// What was tried, and what RabbitMQ answered.
pub const DETAIL: &str = "x-dormouse-detail";
/// When its first attempt failed, ms since the epoch.
pub const FIRST_FAILURE_MS: &str = "x-dormouse-first-failure-ms";
/// When its last attempt failed, ms since the epoch.
pub const LAST_FAILURE_MS: &str = "x-dormouse-last-failure-ms";
/// Of a message in the DLQ: its target exchange.
pub const EXCHANGE: &str = "x-dormouse-exchange";
/// Of a message in the DLQ: its routing key.
pub const ROUTING_KEY: &str = "x-dormouse-routing-key";
/// How often a consumer has rejected the message and got it back; absent the first time.
pub const RETRIES: &str = "x-dormouse-retries";
/// How often its consumer has scheduled it again with `dormouse-client`; absent the first time.
pub const CONSUMER_RETRIES: &str = "dormouse-retries";
/// How often it came to a delay exchange as a dead letter, absent if never.
pub const ROUNDS: &str = "x-dormouse-rounds";
/// When it was dead-lettered, and why: `2027-01-01T09:00:00.000Z rejected`, oldest first.
pub const HISTORY: &str = "x-dormouse-history";
/// Where it was published to the first time, on its way back to a queue.
pub const FIRST_EXCHANGE: &str = "x-dormouse-first-exchange";
/// Its first routing key, on its way back to a queue.
pub const FIRST_ROUTING_KEY: &str = "x-dormouse-first-routing-key";
/// The publisher's `CC`, where a `CC` would take the message to other queues.
pub const FIRST_CC: &str = "x-dormouse-first-cc";
/// The queue that a message in the DLQ was to be brought back to.
pub const QUEUE: &str = "x-dormouse-queue";
/// Names of client headers that were left out of a DLQ copy for want of room in a frame.
pub const DROPPED: &str = "x-dormouse-dropped-headers";
/// The property bytes (flags and values) of a message that could not be read, as they came.
pub const RAW_PROPERTIES: &str = "x-dormouse-raw-properties";
/// The routing key of a message that could not be read, as it came.
pub const RAW_ROUTING_KEY: &str = "x-dormouse-raw-routing-key";
/// The stamp of a message that sleeps: all that the cascade would change or that would act in it.
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
