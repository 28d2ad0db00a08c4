//! A client that sends bytes which no client library would, and what it sends.

use crate::support::*;
use dormouse::amqp::RawConnection;
use dormouse::amqp::frames::{BODY, Frame, HEADER, METHOD};

/// Publishes bytes as they are, to the delay exchange.
pub struct RawClient(pub RawConnection);

/// Flags of the properties: 15 content type, then encoding, headers, mode, priority, correlation id.
pub const HEADERS: u16 = 1 << 13;
pub const DELIVERY_MODE: u16 = 1 << 12;
pub const CORRELATION_ID: u16 = 1 << 10;
pub const EXPIRATION: u16 = 1 << 8;

pub const NOT_UTF8: &[u8] = &[0xff, 0xfe, 0xfd];
pub const NOT_UTF8_NAME: &[u8] = &[b'k', 0xff];

impl RawClient {
    pub async fn connect(broker: &Broker) -> Self {
        let mut raw = RawConnection::open(&broker.config().broker, "hostile").await.unwrap();
        raw.open_channel(1).await.unwrap();
        // confirm.select, and its answer
        raw.write(Frame::new(METHOD, 1, &[0, 85, 0, 10, 0]).bytes()).await.unwrap();
        raw.frame().await.unwrap();
        Self(raw)
    }

    /// Publishes and waits for the confirm.
    pub async fn publish(&mut self, key: &[u8], properties: &[u8], body: &[u8]) {
        self.publish_to(b"dormouse.delay", key, properties, body).await;
    }

    pub async fn publish_to(
        &mut self,
        exchange: &[u8],
        key: &[u8],
        properties: &[u8],
        body: &[u8],
    ) {
        let mut publish = vec![0, 60, 0, 40, 0, 0];
        publish.extend(short(exchange));
        publish.extend(short(key));
        publish.push(0);
        let mut header = vec![0, 60, 0, 0];
        header.extend((body.len() as u64).to_be_bytes());
        header.extend(properties);
        let mut bytes = Frame::new(METHOD, 1, &publish).bytes().to_vec();
        bytes.extend(Frame::new(HEADER, 1, &header).bytes());
        for part in body.chunks(self.0.frame_max_bytes() - 8) {
            bytes.extend(Frame::new(BODY, 1, part).bytes());
        }
        self.0.write(&bytes).await.unwrap();
        let confirm = self.0.frame().await.unwrap();
        assert_eq!(confirm.payload()[..4], [0, 60, 0, 80], "acked: {confirm:?}");
    }
}

pub fn short(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

/// A header table with `x-delay` in ms and one more field of the given name.
pub fn headers(name: &[u8]) -> Vec<u8> {
    let delay = [&short(b"x-delay")[..], b"I", &300i32.to_be_bytes()].concat();
    let table = [&delay[..], &short(name), b"I", &1i32.to_be_bytes()].concat();
    [&(table.len() as u32).to_be_bytes(), &table[..]].concat()
}

pub fn properties(flags: u16, values: &[&[u8]]) -> Vec<u8> {
    [&flags.to_be_bytes()[..], &values.concat()].concat()
}

pub fn bad_id() -> Vec<u8> {
    let flags = HEADERS | DELIVERY_MODE | CORRELATION_ID;
    properties(flags, &[&headers(b"fine"), &[2], &short(NOT_UTF8)])
}

pub fn bad_header_name() -> Vec<u8> {
    properties(HEADERS | DELIVERY_MODE, &[&headers(NOT_UTF8_NAME), &[2]])
}

pub fn good() -> Vec<u8> {
    properties(HEADERS | DELIVERY_MODE, &[&headers(b"fine"), &[2]])
}
