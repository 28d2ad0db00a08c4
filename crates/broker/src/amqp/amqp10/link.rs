//! As much of AMQP 1.0 as it takes to read a queue: one connection, one session, one receiving link.
//! <https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html>

use amq_protocol::auth::{Credentials, SASLMechanism};
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::AmqpError;
use super::super::connection::{Node, Reader, Writer, lost, unexpected};
use super::super::replacing::ScanQueue;
use super::value::{self, Value, decode, encode, performative};

/// An open connection with one receiver.
pub struct Link {
    reader: Reader,
    writer: Writer,
    /// Transfers received, counted as RabbitMQ does.
    delivery_count: u32,
    next_incoming: u32,
}

/// A frame: the descriptor of its performative, its fields, and the payload.
struct Frame {
    descriptor: u8,
    fields: Vec<Value>,
    payload: Vec<u8>,
}

// Kinds of frames, in the protocol header too (there SASL is 3).
const AMQP: u8 = 0;
const SASL: u8 = 1;

// Descriptors of performatives.
const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const FLOW: u8 = 0x13;
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;
const DETACH: u8 = 0x16;
const END: u8 = 0x17;
const CLOSE: u8 = 0x18;
const SOURCE: u8 = 0x28;
const TARGET: u8 = 0x29;
const ACCEPTED: u8 = 0x24;
const RELEASED: u8 = 0x26;
const SASL_MECHANISMS: u8 = 0x40;
const SASL_INIT: u8 = 0x41;
const SASL_OUTCOME: u8 = 0x44;

const NAME: &str = "dormouse quarantine";
const HANDLE: Value = Value::Uint(0);
const MAX_FRAME_BYTES: u32 = 128 * 1024;
/// More transfers than one look receives.
const WINDOW: Value = Value::Uint(i32::MAX as u32);

impl Link {
    /// Connects, and asks for the first messages of a queue.
    pub async fn open(node: Node, watched: &ScanQueue) -> Result<Self, AmqpError> {
        let (reader, writer) = node.stream().await?;
        let uri = node.uri;
        let mut this = Self { reader, writer, delivery_count: 0, next_incoming: 0 };
        let mechanism = uri.query.auth_mechanism.unwrap_or_default();
        let user = uri.authority.userinfo;
        let credentials = Credentials::new(user.username.into(), user.password.into());
        this.authenticate(mechanism, &credentials).await?;
        this.protocol(0).await?;
        // where RabbitMQ looks for the virtual host: https://www.rabbitmq.com/docs/amqp
        let virtual_host = format!("vhost:{}", uri.vhost);
        let open = vec![text(NAME), text(&virtual_host), Value::Uint(MAX_FRAME_BYTES)];
        this.ask(OPEN, open).await?;
        this.consume(watched).await?;
        Ok(this)
    }

    async fn authenticate(
        &mut self,
        mechanism: SASLMechanism,
        credentials: &Credentials,
    ) -> Result<(), AmqpError> {
        self.protocol(3).await?;
        self.expect(SASL_MECHANISMS).await?;
        let response = credentials.sasl_auth_string(mechanism).as_bytes().to_vec();
        let init = vec![Value::Symbol(mechanism.to_string()), Value::Binary(response)];
        self.say(SASL, SASL_INIT, init).await?;
        match self.expect(SASL_OUTCOME).await?.fields.first() {
            Some(Value::Ubyte(0)) => Ok(()),
            _ => Err(AmqpError::Closed { code: 403, text: "ACCESS_REFUSED".into() }),
        }
    }

    async fn consume(
        &mut self,
        ScanQueue { queue, prefetch }: &ScanQueue,
    ) -> Result<(), AmqpError> {
        let begin = vec![Value::Null, Value::Uint(0), WINDOW, WINDOW];
        let begun = self.ask(BEGIN, begin).await?;
        let queue = utf8_percent_encode(queue, NON_ALPHANUMERIC);
        let source = performative(SOURCE, vec![text(&format!("/queues/{queue}"))]);
        let target = performative(TARGET, Vec::new());
        // a receiver, whose messages are settled by its disposition
        let (receiver, unsettled) = (Value::Bool(true), Value::Ubyte(0));
        let attach = vec![text(NAME), HANDLE, receiver, unsettled, Value::Ubyte(0), source, target];
        let attached = self.ask(ATTACH, attach).await?;
        let number = |frame: &Frame, at: usize| match frame.fields.get(at) {
            Some(Value::Uint(number)) => *number,
            _ => 0,
        };
        // where their count of transfers begins, and that of deliveries
        (self.next_incoming, self.delivery_count) = (number(&begun, 1), number(&attached, 9));
        self.allow((*prefetch).into()).await
    }

    /// Asks for so many messages more than have come.
    async fn allow(&mut self, credit: u32) -> Result<(), AmqpError> {
        let [next_incoming, delivery_count, credit] =
            [self.next_incoming, self.delivery_count, credit].map(Value::Uint);
        let flow =
            vec![next_incoming, WINDOW, Value::Uint(0), WINDOW, HANDLE, delivery_count, credit];
        self.say(AMQP, FLOW, flow).await
    }

    /// Asks for no more. Some may be on their way.
    pub async fn stop(&mut self) -> Result<(), AmqpError> {
        self.allow(0).await
    }

    /// The next message: its delivery id and its encoded sections.
    ///
    /// Errors: the connection is closed, with the broker's reason if it gave one.
    pub async fn receive(&mut self) -> Result<(u32, Vec<u8>), AmqpError> {
        let (mut id, mut message) = (None, Vec::new());
        loop {
            let Frame { fields, payload, .. } = self.expect(TRANSFER).await?;
            self.next_incoming = self.next_incoming.wrapping_add(1);
            if let Some(Value::Uint(delivery)) = fields.get(1) {
                id = Some(*delivery);
            }
            message.extend(payload);
            if !matches!(fields.get(5), Some(Value::Bool(true))) {
                self.delivery_count = self.delivery_count.wrapping_add(1);
                return id.map(|id| (id, message)).ok_or_else(unexpected);
            }
        }
    }

    /// Removes a message from its queue.
    pub async fn accept(&mut self, delivery: u32) -> Result<(), AmqpError> {
        self.settle(delivery, ACCEPTED).await
    }

    /// Gives a message back to its queue.
    pub async fn release(&mut self, delivery: u32) -> Result<(), AmqpError> {
        self.settle(delivery, RELEASED).await
    }

    async fn settle(&mut self, delivery: u32, state: u8) -> Result<(), AmqpError> {
        let delivery = Value::Uint(delivery);
        let (receiver, settled) = (Value::Bool(true), Value::Bool(true));
        let state = performative(state, Vec::new());
        let disposition = vec![receiver, delivery, Value::Null, settled, state];
        self.say(AMQP, DISPOSITION, disposition).await
    }

    /// Says that it is still there: RabbitMQ closes a connection that is silent for long.
    pub async fn beat(&mut self) -> Result<(), AmqpError> {
        self.write(&[0, 0, 0, 8, 2, AMQP, 0, 0]).await
    }

    /// Closes in order. What is not accepted goes back to its queue.
    pub async fn close(mut self) -> Result<(), AmqpError> {
        self.say(AMQP, CLOSE, Vec::new()).await?;
        while self.frame().await?.descriptor != CLOSE {}
        Ok(())
    }

    /// Agrees on a protocol: 0 is AMQP 1.0, 3 is SASL before it.
    async fn protocol(&mut self, id: u8) -> Result<(), AmqpError> {
        let header = [b'A', b'M', b'Q', b'P', id, 1, 0, 0];
        self.write(&header).await?;
        let mut answer = [0; 8];
        self.reader.read_exact(&mut answer).await.map_err(lost)?;
        if answer != header {
            return Err(lost("this RabbitMQ does not speak AMQP 1.0"));
        }
        Ok(())
    }

    /// Says a performative, and waits for its echo.
    async fn ask(&mut self, descriptor: u8, fields: Vec<Value>) -> Result<Frame, AmqpError> {
        self.say(AMQP, descriptor, fields).await?;
        self.expect(descriptor).await
    }

    /// The next frame with this performative; others, such as flow, tell nothing of use.
    async fn expect(&mut self, descriptor: u8) -> Result<Frame, AmqpError> {
        loop {
            let frame = self.frame().await?;
            match frame.descriptor {
                found if found == descriptor => return Ok(frame),
                DETACH => return Err(refused(frame.fields.into_iter().nth(2))),
                END | CLOSE => return Err(refused(frame.fields.into_iter().next())),
                _ => {}
            }
        }
    }

    async fn say(&mut self, kind: u8, descriptor: u8, fields: Vec<Value>) -> Result<(), AmqpError> {
        let mut frame = vec![0, 0, 0, 0, 2, kind, 0, 0];
        encode(&performative(descriptor, fields), &mut frame);
        let size = frame.len() as u32;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        self.write(&frame).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), AmqpError> {
        self.writer.write_all(bytes).await.map_err(lost)?;
        self.writer.flush().await.map_err(lost)
    }

    async fn frame(&mut self) -> Result<Frame, AmqpError> {
        loop {
            let mut header = [0; 8];
            self.reader.read_exact(&mut header).await.map_err(lost)?;
            let [s0, s1, s2, s3, words, ..] = header;
            let size = u32::from_be_bytes([s0, s1, s2, s3]);
            let (extended, rest) = ((usize::from(words) * 4).checked_sub(8), size.checked_sub(8));
            let (Some(extended), Some(rest), true) = (extended, rest, size <= MAX_FRAME_BYTES)
            else {
                return Err(unexpected());
            };
            let mut body = vec![0; rest as usize];
            self.reader.read_exact(&mut body).await.map_err(lost)?;
            let mut payload = body.get(extended..).ok_or_else(unexpected)?;
            // an empty one is a heartbeat
            if payload.is_empty() {
                continue;
            }
            let fields = decode(&mut payload).and_then(value::fields);
            let (descriptor, fields) = fields.ok_or_else(unexpected)?;
            return Ok(Frame { descriptor, fields, payload: payload.to_vec() });
        }
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// With the broker's words: condition and description.
fn refused(error: Option<Value>) -> AmqpError {
    let words = match error.and_then(value::fields) {
        Some((_, fields)) => fields
            .into_iter()
            .filter_map(|field| match field {
                Value::Symbol(text) | Value::String(text) => Some(text),
                _ => None,
            })
            .collect::<Vec<_>>()
            .join(": "),
        None => "RabbitMQ closed it".into(),
    };
    AmqpError::Lost(words)
}
