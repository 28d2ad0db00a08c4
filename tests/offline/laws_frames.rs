//! Laws of the frame splitter: what comes out does not depend on how the stream was chopped, and
//! nothing that arrives makes it panic.

use bytes::Bytes;
use dormouse::amqp::frames::{
    AROUND_BYTES, BODY, ContentHeader, Deliver, Frame, HEADER, HEARTBEAT, METHOD, NoFrame,
    Splitter, method,
};
use proptest::prelude::*;

fn frame() -> impl Strategy<Value = Frame> {
    let kind = prop::sample::select(vec![METHOD, HEADER, BODY, HEARTBEAT]);
    (kind, any::<u16>(), prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(kind, channel, payload)| Frame::new(kind, channel, &payload))
}

fn all(splitter: &mut Splitter) -> Result<Vec<Frame>, NoFrame> {
    let mut frames = Vec::new();
    while let Some(frame) = splitter.cut()? {
        frames.push(frame);
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn any_chopping_gives_the_same_frames(
        frames in prop::collection::vec(frame(), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes().to_vec()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        for part in cuts.windows(2) {
            splitter.push(&stream[part[0]..part[1]]);
            out.extend(all(&mut splitter).unwrap());
        }
        prop_assert_eq!(out, frames);
    }

    #[test]
    fn a_frame_says_what_it_was_made_of(kind in prop::sample::select(vec![METHOD, HEADER, BODY]), channel: u16, payload: Vec<u8>) {
        let frame = Frame::new(kind, channel, &payload);
        prop_assert_eq!(frame.kind(), kind);
        prop_assert_eq!(frame.channel(), channel);
        prop_assert_eq!(frame.bytes().len(), payload.len() + AROUND_BYTES);
        prop_assert_eq!(frame.payload(), payload);
    }

    #[test]
    fn garbage_never_panics(garbage: Vec<u8>, known in prop::sample::select(vec![METHOD, HEADER, BODY, HEARTBEAT])) {
        let mut splitter = Splitter::default();
        splitter.push(&garbage);
        let _ = all(&mut splitter);
        let mut splitter = Splitter::default();
        splitter.push(&[known, 0, 1, 0, 0, 0]);
        splitter.push(&garbage);
        let _ = all(&mut splitter);
        let payload = Bytes::from(garbage);
        let _ = (method(&payload), Deliver::read(&payload), ContentHeader::read(&payload));
    }

    #[test]
    fn a_delivery_keeps_its_bytes(tag: u64, exchange in short(), routing_key in short(), consumer in short()) {
        let mut payload = vec![0, 60, 0, 60, consumer.len() as u8];
        payload.extend(&consumer);
        payload.extend(tag.to_be_bytes());
        payload.push(1);
        for name in [&exchange, &routing_key] {
            payload.push(name.len() as u8);
            payload.extend(name);
        }
        let read = Deliver::read(&payload.clone().into());
        let (exchange, routing_key) = (exchange.into(), routing_key.into());
        prop_assert_eq!(read, Some(Deliver { tag, exchange, routing_key }));
        prop_assert_eq!(method(&payload), Some(Deliver::METHOD));
        for end in 0..payload.len() {
            prop_assert_eq!(Deliver::read(&Bytes::copy_from_slice(&payload[..end])), None);
        }
    }
}

fn short() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=255)
}

/// A size that no frame has, or an end that is none, is noticed at once instead of waited for.
#[test]
fn what_is_no_frame_is_refused() {
    for stream in
        [&b"AMQP\0\0\x09\x01"[..], &[METHOD, 0, 1, 0xff, 0, 0, 0], &[BODY, 0, 1, 0, 0, 0, 1, 7, 7]]
    {
        let mut splitter = Splitter::default();
        splitter.push(stream);
        assert_eq!(splitter.cut(), Err(NoFrame));
    }
}
