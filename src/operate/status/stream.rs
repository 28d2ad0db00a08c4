//! In: what was seen of a stream of ours. Out: how much is in it. Pure.

use serde_json::{Value as Json, json};

use super::seen::Seen;

/// What workers have written, and nobody takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub stream: String,
    pub messages: Option<u64>,
    /// Its files. RabbitMQ tells no size of a stream, and these since 4.0 only.
    pub segments: Option<u64>,
    segment_bytes: u64,
}

impl Stream {
    /// Of this name, in files of so many bytes at most.
    pub fn of(stream: String, segment_bytes: i64, seen: &Seen) -> Self {
        Self {
            messages: seen.queues.get(&stream).and_then(|counts| counts.ready),
            segments: seen.segments.get(&stream).copied(),
            segment_bytes: segment_bytes.unsigned_abs(),
            stream,
        }
    }

    /// What its files may take.
    pub fn bytes_at_most(&self) -> Option<u64> {
        self.segments.map(|segments| segments * self.segment_bytes)
    }

    /// As programs get it.
    pub fn document(&self) -> Json {
        json!({
            "stream": self.stream,
            "messages": self.messages,
            "segments": self.segments,
            "bytes_at_most": self.bytes_at_most(),
        })
    }
}
