//! The body of a bench message: which run, which message, and when it is due. Any subject carries
//! it, whatever it does to headers. Pure.

use bytes::Bytes;

/// Three big-endian numbers; the rest is filler.
pub const MIN_BYTES: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Tells messages of other runs apart.
    pub run: u64,
    /// From 0, in order of publishing.
    pub sequence: u64,
    /// Microseconds since the epoch.
    pub due_us: u64,
}

impl Payload {
    /// A body of `bytes`, at least `MIN_BYTES`.
    pub fn write(&self, bytes: usize) -> Bytes {
        let mut body = vec![b'.'; bytes.max(MIN_BYTES)];
        let numbers = [self.run, self.sequence, self.due_us];
        for (field, number) in body.chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_be_bytes());
        }
        body.into()
    }

    pub fn read(body: &[u8]) -> Option<Self> {
        let mut fields = body
            .chunks_exact(8)
            .map(|field| u64::from_be_bytes(field.try_into().expect("chunks of eight")));
        let (run, sequence, due_us) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { run, sequence, due_us })
    }
}
