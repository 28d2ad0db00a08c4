//! A connection that hands out frames as bytes. The client library parses whatever it receives, and
//! gives up the connection over a delivery that it cannot parse; this one only parses the handshake.

use amq_protocol::auth::Credentials;
use amq_protocol::frame::{AMQPFrame, ProtocolVersion, WriteContext, gen_frame, parse_frame};
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use lapin::protocol::{AMQPClass, channel, connection};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::uri::AMQPUri;

use super::AmqpError;
use super::connection::{Node, Reader, Writer, first_node, lost, unexpected};
use super::frames::{self, Frame, Splitter};
use crate::config::Broker;

/// Open, tuned, without heartbeats: for short use.
pub struct RawConnection {
    reader: Reader,
    writer: Writer,
    splitter: Splitter,
    buffer: Box<[u8]>,
    frame_max_bytes: usize,
}

const READ_BYTES: usize = 64 * 1024;

impl RawConnection {
    /// Connects to the first node that answers. `name` is what the management UI shows.
    pub async fn open(broker: &Broker, name: &str) -> Result<Self, AmqpError> {
        first_node(broker, |node| Self::open_node(node, name)).await
    }

    async fn open_node(node: Node, name: &str) -> Result<Self, AmqpError> {
        let (reader, writer) = node.stream().await?;
        let mut this = Self {
            reader,
            writer,
            splitter: Splitter::default(),
            buffer: vec![0; READ_BYTES].into(),
            frame_max_bytes: usize::MAX,
        };
        this.shake_hands(node.uri, name).await?;
        Ok(this)
    }

    async fn shake_hands(&mut self, uri: AMQPUri, name: &str) -> Result<(), AmqpError> {
        use connection::AMQPMethod::{Open, OpenOk, Start, StartOk, Tune, TuneOk};
        self.send(AMQPFrame::ProtocolHeader(ProtocolVersion::amqp_0_9_1())).await?;
        let AMQPClass::Connection(Start(_)) = self.method(0).await? else {
            return Err(unexpected());
        };
        let mechanism = uri.query.auth_mechanism.unwrap_or_default();
        let user = uri.authority.userinfo;
        let start_ok = connection::StartOk {
            client_properties: about(name),
            mechanism: mechanism.to_string().into(),
            response: Credentials::new(user.username.into(), user.password.into())
                .sasl_auth_string(mechanism),
            locale: "en_US".into(),
        };
        self.call(0, AMQPClass::Connection(StartOk(start_ok))).await?;
        let AMQPClass::Connection(Tune(tune)) = self.method(0).await? else {
            return Err(unexpected());
        };
        // 0 is no limit: the smaller of what both want, as the client library has it
        let frame_max = match (tune.frame_max, uri.query.frame_max.unwrap_or(0)) {
            (limit, 0) | (0, limit) => limit,
            (theirs, ours) => theirs.min(ours),
        };
        if frame_max > 0 {
            self.frame_max_bytes = frame_max as usize;
        }
        let tune_ok = connection::TuneOk { channel_max: tune.channel_max, frame_max, heartbeat: 0 };
        self.call(0, AMQPClass::Connection(TuneOk(tune_ok))).await?;
        let open = connection::Open { virtual_host: uri.vhost.as_str().into() };
        self.call(0, AMQPClass::Connection(Open(open))).await?;
        let AMQPClass::Connection(OpenOk(_)) = self.method(0).await? else {
            return Err(unexpected());
        };
        Ok(())
    }

    /// Opens channel `number`, as long as nothing else is under way.
    pub async fn open_channel(&mut self, number: u16) -> Result<(), AmqpError> {
        self.call(number, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {}))).await?;
        match self.method(number).await? {
            AMQPClass::Channel(channel::AMQPMethod::OpenOk(_)) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Sends a method and waits for nothing.
    pub(super) async fn call(&mut self, channel: u16, method: AMQPClass) -> Result<(), AmqpError> {
        self.send(AMQPFrame::Method(channel, method)).await
    }

    async fn send(&mut self, frame: AMQPFrame) -> Result<(), AmqpError> {
        let written = gen_frame(&frame)(WriteContext::from(Vec::new()));
        let (bytes, _) = written.map_err(lost)?.into_inner();
        self.write(&bytes).await
    }

    /// Sends bytes as they are: whole frames, whatever they carry.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), AmqpError> {
        self.writer.write_all(bytes).await.map_err(lost)?;
        self.writer.flush().await.map_err(lost)
    }

    /// The next frame, unparsed. Cancel safe.
    ///
    /// Errors: the connection is closed, with the broker's reason if it gave one.
    pub async fn frame(&mut self) -> Result<Frame, AmqpError> {
        loop {
            if let Some(frame) = self.splitter.cut().map_err(lost)? {
                if frame.channel() == 0
                    && let Ok(AMQPClass::Connection(connection::AMQPMethod::Close(close))) =
                        read_method(&frame)
                {
                    let text = close.reply_text.to_string();
                    return Err(AmqpError::Closed { code: close.reply_code, text });
                }
                return Ok(frame);
            }
            let count = self.reader.read(&mut self.buffer).await.map_err(lost)?;
            if count == 0 {
                return Err(AmqpError::Lost("the broker closed it".into()));
            }
            self.splitter.push(&self.buffer[..count]);
        }
    }

    /// The next method on `channel`.
    pub(super) async fn method(&mut self, channel: u16) -> Result<AMQPClass, AmqpError> {
        loop {
            let frame = self.frame().await?;
            if frame.channel() == channel && frame.kind() == frames::METHOD {
                return read_method(&frame);
            }
        }
    }

    /// The largest frame that both sides agreed to, in bytes.
    pub fn frame_max_bytes(&self) -> usize {
        self.frame_max_bytes
    }

    /// Closes in order. What is unacknowledged goes back to its queue.
    pub async fn close(mut self) -> Result<(), AmqpError> {
        let close =
            connection::Close { reply_code: 200, reply_text: "done".into(), ..Default::default() };
        self.call(0, AMQPClass::Connection(connection::AMQPMethod::Close(close))).await?;
        while !matches!(
            self.method(0).await?,
            AMQPClass::Connection(connection::AMQPMethod::CloseOk(_))
        ) {}
        Ok(())
    }
}

/// Parses a method frame, as the client library would.
pub(super) fn read_method(frame: &Frame) -> Result<AMQPClass, AmqpError> {
    match parse_frame(frame.bytes()) {
        Ok((_, AMQPFrame::Method(_, method))) => Ok(method),
        _ => Err(unexpected()),
    }
}

/// Whether the client library can parse it.
pub(super) fn is_readable(frame: &Frame) -> bool {
    parse_frame(frame.bytes()).is_ok()
}

fn about(name: &str) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let mut capabilities = FieldTable::default();
    for capability in ["publisher_confirms", "basic.nack", "authentication_failure_close"] {
        capabilities.insert(capability.into(), AMQPValue::Boolean(true));
    }
    let mut about = FieldTable::default();
    about.insert("product".into(), text("dormouse"));
    about.insert("connection_name".into(), text(name));
    about.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    about
}
