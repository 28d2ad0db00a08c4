//! What the client library cannot read goes to the DLQ as a message that it can: our own properties,
//! the original's as bytes in a header, its body untouched.

use dormouse_core::clock::Clock;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::amqp::{AmqpError, Keeping, Outcome, PoisonScan, Problem, ScanQueue, Unreadable};
use crate::config::Config;
use crate::kept::KeptMessage;
use crate::message::{ByteArray, Message, Value, encoded_bytes};
use crate::schedule::headers::{MAX_KEY_BYTES, RAW_PROPERTIES, RAW_ROUTING_KEY};
use crate::schedule::{DelayedMessage, Reason, UnixMs};
use crate::tell::Tell;
use crate::topology::Names;

/// Room in a frame for what is neither our headers nor the raw properties.
const ROOM_BYTES: usize = 256;
/// More of it in the levels, where RabbitMQ adds its account of each.
const LEVELS_BYTES: usize = 4 * 1024;

/// What came of a look.
#[derive(Default)]
pub struct Looked {
    /// Messages that were moved.
    pub moved: usize,
    /// Those of them that sleep before the DLQ, as it had no room.
    pub put_off: usize,
    /// What RabbitMQ does not take as it was to be moved.
    pub refused: Vec<KeptMessage>,
    /// That stays unacknowledged as long as this is there.
    pub keeping: Vec<Keeping>,
}

impl Looked {
    /// Notes a message that RabbitMQ does not take.
    pub fn refuse(&mut self, queue: &str, delayed: &DelayedMessage, answer: &str) {
        let queue = queue.to_owned();
        self.refused.push(KeptMessage { queue, ..KeptMessage::of(delayed, answer) });
    }

    /// Sums up in the log what was more than one message.
    pub fn tell(&self, what: &str) {
        let (moved, refused) = (self.moved, self.refused.len());
        if moved + refused > 1 {
            warn!(name: "unreadable-looked", moved, refused, "looked for {what}");
        }
    }
}

/// Looks through `queues`. `complete` adds to a message what its queue, by index, tells about it. With
/// `put_off`, what the DLQ has no room for goes where that says, and what nobody takes is kept apart; without
/// it, both go back in their order.
///
/// Errors: the broker is gone, or does not answer in time.
pub async fn move_unreadable(
    config: &Config,
    clock: &Clock,
    queues: &[ScanQueue],
    complete: impl Fn(&mut DelayedMessage, usize),
    put_off: Option<impl Fn(&mut DelayedMessage) -> Message>,
) -> Result<Looked, AmqpError> {
    let mut quarantine = PoisonScan::open(&config.broker, queues).await?;
    let frame_max_bytes = quarantine.frame_max_bytes();
    let dlq = Names::of(config).dlq();
    let mut looked = Looked::default();
    let (mut told_of_moved, mut told_of_refused) = (Tell::default(), Tell::default());
    while let Some(found) = quarantine.next().await? {
        let queue = &queues[found.queue].queue;
        let id = Uuid::now_v7().to_string();
        let mut dead = dead(&found, queue, id.clone(), clock.now());
        complete(&mut dead, found.queue);
        let detail = dead.stamp.failure.as_ref().map(|failure| failure.detail.clone());
        let message = with_raw(dead.to_dlq(&dlq, usize::MAX), &found, frame_max_bytes);
        let mut outcome = quarantine.replace(&found, message).await?;
        if outcome == Outcome::Nacked
            && let Some(put_off) = &put_off
        {
            let room_bytes = frame_max_bytes.saturating_sub(LEVELS_BYTES);
            let message = with_raw(put_off(&mut dead), &found, room_bytes);
            outcome = quarantine.replace(&found, message).await?;
            looked.put_off += usize::from(outcome == Outcome::Confirmed);
        }
        if outcome != Outcome::Confirmed {
            let answer = outcome.answer();
            if told_of_refused.due().is_some() {
                warn!(
                    name: "unreadable-not-moved",
                    id, queue, detail, answer,
                    "a message that cannot be read could not be moved to the DLQ"
                );
            }
            looked.refuse(queue, &dead, answer);
            if put_off.is_some() {
                quarantine.refuse(&found);
            }
            continue;
        }
        looked.moved += 1;
        debug!(id, queue, detail, "moved");
        if told_of_moved.due().is_some() {
            warn!(
                name: "unreadable-moved",
                id, queue, detail,
                "a message that cannot be read was moved to the DLQ; `dormouse dlq show` prints it"
            );
        }
    }
    looked.tell("messages that cannot be read");
    looked.keeping.extend(quarantine.keep().await);
    Ok(looked)
}

/// Stamped, so that it can be listed and sent again from the DLQ: then without its properties, and to
/// the routing key as far as that is UTF-8.
fn dead(found: &Unreadable, queue: &str, id: String, now: UnixMs) -> DelayedMessage {
    let published = Message {
        routing_key: lossy_key(&found.routing_key),
        body: found.body.clone(),
        ..Message::default()
    };
    let mut delayed = DelayedMessage::accept(published, "", id, now, None);
    let problem = match found.problem {
        Problem::RoutingKey => "the routing key is not UTF-8",
        Problem::Properties => "a property or the name of a header is not UTF-8",
        Problem::LargerThanFrame => "the properties are larger than a frame",
    };
    let detail = format!(
        "{problem}, so the message cannot be read; it was in {queue} and came through exchange {:?}. \
         A redrive sends its body without its properties",
        String::from_utf8_lossy(&found.exchange)
    );
    delayed.fail(Reason::Unreadable, detail, now);
    delayed
}

/// Adds the original's bytes, as far as a frame has room for them.
fn with_raw(mut message: Message, found: &Unreadable, frame_max_bytes: usize) -> Message {
    let taken = encoded_bytes(&message.properties.headers) + found.routing_key.len() + ROOM_BYTES;
    let room_bytes = frame_max_bytes.saturating_sub(taken);
    let properties = &found.properties[..found.properties.len().min(room_bytes)];
    for (name, raw) in [(RAW_PROPERTIES, properties), (RAW_ROUTING_KEY, &found.routing_key[..])] {
        message.properties.headers.insert(name.into(), Value::ByteArray(ByteArray::from(raw)));
    }
    message
}

fn lossy_key(key: &[u8]) -> String {
    let mut key = String::from_utf8_lossy(key).into_owned();
    key.truncate(key.floor_char_boundary(MAX_KEY_BYTES));
    key
}
