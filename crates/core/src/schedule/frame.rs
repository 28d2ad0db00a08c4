//! What fits one frame: RabbitMQ takes a message's headers and properties in one only, and ours travel beside
//! the client's. Pure.

use super::headers::{DROPPED, is_ours};
use super::stamp::Stamp;
use crate::message::{Headers, LongString, Properties, ShortString, Value, encoded_bytes, text};

/// Room that everything but the client's headers may need in a content header frame: the other
/// properties (ten short strings at most), our headers, and what RabbitMQ adds on the way, about
/// 260 bytes of `x-death` for each hop.
const ROOM_BYTES: usize = 16 * 1024;
/// In a smaller frame than this, no more is kept free than this message may need.
const AMPLE_FRAME_BYTES: usize = 64 * 1024;
/// A frame's own bytes and those of a content header without properties.
const FRAME_BYTES: usize = 8 + 14;
/// What RabbitMQ adds for the levels that one message visits.
const DEATHS_BYTES: usize = 8 * 260;
/// A stamp with names and keys of ordinary length.
const STAMP_BYTES: usize = 600;
/// Characters of the names of dropped headers that are kept, and their bytes with the name of the header.
const LONGEST_DROPPED: usize = 400;
const DROPPED_BYTES: usize = LONGEST_DROPPED + 40;
/// A failure, the next attempt, and the keys of the way.
const FAILURE_BYTES: usize = 800;

/// Bytes of headers that a client may have in an ample frame, for ours to fit the same one. In a small
/// frame, what an ordinary stamp leaves.
pub fn room(frame_max_bytes: usize) -> usize {
    if frame_max_bytes >= AMPLE_FRAME_BYTES {
        frame_max_bytes - ROOM_BYTES
    } else {
        frame_max_bytes.saturating_sub(STAMP_BYTES + DEATHS_BYTES + FAILURE_BYTES)
    }
}

/// Whether the client's headers leave room for ours, with this stamp, in a frame of so many bytes.
pub(super) fn fits(properties: &Properties, stamp: &Stamp, frame_max_bytes: usize) -> bool {
    let keys = key_bytes(&stamp.target.cc);
    let of_client = encoded_bytes(&properties.headers) + keys;
    if frame_max_bytes >= AMPLE_FRAME_BYTES {
        return of_client <= room(frame_max_bytes);
    }
    let mut ours = Headers::new();
    stamp.write(&mut ours);
    let ours = encoded_bytes(&ours) - keys + DEATHS_BYTES + FAILURE_BYTES;
    of_client + ours + FRAME_BYTES + property_bytes(properties) <= frame_max_bytes
}

/// Leaves out client headers, largest first, until the rest fits a frame of the DLQ's copy, and names them
/// beside those that were `dropped` before.
pub(super) fn make_fit(
    properties: &mut Properties,
    mut dropped: Vec<String>,
    frame_max_bytes: usize,
) {
    let room_bytes = if frame_max_bytes >= AMPLE_FRAME_BYTES {
        room(frame_max_bytes)
    } else {
        let taken = FRAME_BYTES + property_bytes(properties) + DROPPED_BYTES;
        frame_max_bytes.saturating_sub(taken)
    };
    drop_largest(&mut properties.headers, room_bytes, &mut dropped);
    if !dropped.is_empty() {
        let mut names = dropped.join(", ");
        names.truncate(names.floor_char_boundary(LONGEST_DROPPED));
        properties.headers.insert(DROPPED.into(), text(&names));
    }
}

fn drop_largest(headers: &mut Headers, room_bytes: usize, dropped: &mut Vec<String>) {
    while encoded_bytes(headers) > room_bytes {
        let size = |(name, value): (&ShortString, &Value)| {
            encoded_bytes(&Headers::from([(name.clone(), value.clone())]))
        };
        let of_client = headers.iter().filter(|(name, _)| !is_ours(name.as_str()));
        let Some(largest) =
            of_client.max_by_key(|field| size(*field)).map(|(name, _)| name.clone())
        else {
            break;
        };
        headers.remove(&largest);
        dropped.push(largest.to_string());
    }
}

/// What further routing keys take in a table.
pub(super) fn key_bytes(keys: &[LongString]) -> usize {
    keys.iter().map(|key| key.len() + 5).sum()
}

/// What the properties other than the headers take in a frame, as they are and set aside.
fn property_bytes(properties: &Properties) -> usize {
    let Properties {
        content_type,
        content_encoding,
        headers: _,
        delivery_mode: _,
        priority: _,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        timestamp: _,
        kind,
        user_id,
        app_id,
        cluster_id,
    } = properties;
    let texts = [
        content_type,
        content_encoding,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        kind,
        user_id,
        app_id,
        cluster_id,
    ];
    // delivery mode, priority and timestamp are ten bytes
    10 + texts.into_iter().flatten().map(|text| 1 + text.as_str().len()).sum::<usize>()
}
