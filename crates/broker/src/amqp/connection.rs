//! A connection to one of the configured nodes, built from scratch each time: lapin's automatic
//! recovery is not used, so that nothing of a lost connection survives in the new one.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::io::{AsyncReadExt, ReadHalf, WriteHalf};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, ConnectionProperties, ConnectionStatus, ErrorKind, Event};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::stream::{self, Stream, TlsFiles};
use super::{AmqpError, Publisher};
use crate::config::{Broker, LEAST_FRAME_MAX_BYTES, Uri};
use dormouse_core::clock::Clock;

/// Pauses between two tries to connect, without end: doubled from 100 ms to `broker.reconnect_max`, with
/// jitter.
pub fn pauses(broker: &Broker) -> impl Iterator<Item = Duration> + use<> {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100).min(broker.reconnect_max))
        .with_max_delay(broker.reconnect_max)
        .without_max_times()
        .build()
}

/// How often a connection is looked at that says nothing.
const LOOK: Duration = Duration::from_secs(1);

/// RabbitMQ counts a channel of a user a moment longer than it is open: `rabbit_channel_tracking`.
const UNCOUNTED: Duration = Duration::from_millis(250);

/// An open connection, on which each part of a program opens channels of its own. Dropping it closes it.
pub struct Connection {
    connection: lapin::Connection,
    /// `amqp://user:***@host:port/vhost`, for logs.
    address: String,
    /// Listens from the start: an error that comes before anybody asks is not missed.
    events: Mutex<BoxStream<'static, Event>>,
    /// See [`Connection::most_channels`].
    most_channels: AtomicUsize,
}

impl Connection {
    /// Connects to the first node that answers. `name` is what the management UI shows.
    ///
    /// Errors: the last node's, each with the address and without the password.
    pub async fn open(broker: &Broker, name: &str) -> Result<Self, AmqpError> {
        first_node(broker, |node| Self::open_node(broker, node, name)).await
    }

    async fn open_node(broker: &Broker, node: Node, name: &str) -> Result<Self, AmqpError> {
        let Node { address, mut uri, tls } = node;
        uri.query.heartbeat = Some(broker.heartbeat.as_secs().min(u16::MAX.into()) as u16);
        // by these an operator tells whose it is, of which process, and how far its clock is from the node's
        let properties = ConnectionProperties::default()
            .with_connection_name(name.into())
            .with_client_property("product".into(), "Dormouse".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
            .with_client_property("pid".into(), std::process::id().to_string().into())
            .with_client_property("clock_ms".into(), Clock::default().now().0.to_string().into());
        let connect = async move |uri: AMQPUri, _| {
            Ok(AsyncTcpStream::Plain(stream::connect(&uri, &tls).await?))
        };
        let runtime = stream::runtime();
        let connection = lapin::Connection::connector(uri, runtime, connect, properties).await?;
        let events = Mutex::new(connection.events_listener().boxed());
        // the client library counts channel 0 too
        let agreed = usize::from(connection.configuration().channel_max()).saturating_sub(1);
        Ok(Self { connection, address, events, most_channels: agreed.into() })
    }

    /// The node: `amqp://user:***@host:port/vhost`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Channels that may be open at once: as many as RabbitMQ agreed to, or fewer that were told to do.
    /// <https://www.rabbitmq.com/docs/channels#channel-max>
    pub fn most_channels(&self) -> usize {
        self.most_channels.load(Ordering::Relaxed)
    }

    /// From now on no more than so many are meant to be open. Those who open one do not look; those who
    /// open many do.
    pub fn do_with_channels(&self, most: usize) {
        self.most_channels.fetch_min(most, Ordering::Relaxed);
    }

    /// The client library numbers channels upwards, then from the first one on again, and gives one whose
    /// number is that of a channel which RabbitMQ closed the refusal of then. That uses the number up, and the
    /// next one is tried.
    pub(super) async fn channel(&self) -> Result<lapin::Channel, AmqpError> {
        loop {
            match self.connection.create_channel().await {
                // RabbitMQ closes no channel over its opening, but the connection
                Err(error) if is_protocol_error(&error) && self.is_open() => {}
                opened => return Ok(opened?),
            }
        }
    }

    /// Opens so many channels on each, all together, and closes them again.
    ///
    /// Errors: they are more than the user may have open now, beside what else it has.
    pub async fn try_channels(of: [&Self; 2], each: usize) -> Result<(), AmqpError> {
        let mut channels = Vec::with_capacity(2 * each);
        for connection in of {
            for _ in 0..each {
                match connection.channel().await {
                    Ok(channel) => channels.push(channel),
                    // only the connection knows why
                    Err(_) if !connection.is_open() => return Err(connection.lost().await),
                    Err(error) => return Err(error),
                }
            }
        }
        for channel in channels {
            channel.close(200, "tried".into()).await?;
        }
        tokio::time::sleep(UNCOUNTED).await;
        Ok(())
    }

    pub(super) fn status(&self) -> ConnectionStatus {
        self.connection.status().clone()
    }

    /// A channel in confirm mode.
    pub async fn publisher<T>(&self) -> Result<Publisher<T>, AmqpError> {
        let channel = self.channel().await?;
        channel.confirm_select(<_>::default()).await?;
        Ok(Publisher::new(channel))
    }

    /// Returns when RabbitMQ takes publishes: at once, or when an alarm is over. It tells only those of an
    /// alarm who publish, so this publishes to no queue.
    ///
    /// Errors: the connection is lost.
    pub async fn until_unblocked(&self) -> Result<(), AmqpError> {
        let channel = self.channel().await?;
        channel.confirm_select(<_>::default()).await?;
        let (nowhere, options) = ("dormouse.nowhere", BasicPublishOptions::default());
        let published = async {
            let confirm = channel
                .basic_publish("".into(), nowhere.into(), options, b"alarm?", <_>::default())
                .await?;
            confirm.await
        };
        match published.await.map_err(AmqpError::from) {
            // the user may not publish there, and publishes are looked at again
            Err(AmqpError::Closed { code: 403, .. }) => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        // a channel that fails to close is gone with its connection
        let _ = channel.close(200, "no alarm".into()).await;
        Ok(())
    }

    /// The largest frame, in bytes: a message's properties and headers must fit one.
    pub fn frame_max_bytes(&self) -> usize {
        match self.connection.configuration().frame_max() {
            0 => usize::MAX,
            bytes => bytes as usize,
        }
    }

    /// Whether it was neither closed nor lost.
    pub fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether an alarm of the broker stops publishes: <https://www.rabbitmq.com/docs/connection-blocked>.
    pub fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Resolves with the reason once the connection is lost; asked later, the first to ask gets it.
    pub async fn lost(&self) -> AmqpError {
        let mut events = self.events.lock().await;
        loop {
            match timeout(LOOK, events.next()).await {
                Ok(Some(Event::Error(error))) if !self.is_open() => return error.into(),
                Ok(Some(_)) => {}
                Ok(None) => break,
                // the event comes after the change of state, but not this long after
                Err(_) if !self.is_open() => break,
                Err(_) => {}
            }
        }
        AmqpError::Lost("it was closed".into())
    }

    /// Closes in order. Never fails: a connection that cannot be closed is gone.
    pub async fn close(&self) {
        if self.is_open() {
            // one that breaks while it is closed would never answer
            let closed = self.connection.close(200, "done".into());
            let _ = timeout(LOOK, closed).await;
        }
    }
}

/// A connection that is dropped, with a task that was aborted or an early return, is closed all the
/// same: the client library's own tasks would keep it open, and with it unacknowledged what it holds.
impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_open() {
            // the first poll hands the request to those tasks, which carry it out; none waits for it
            let _ = self.connection.close(200, "dropped".into()).now_or_never();
        }
    }
}

fn is_protocol_error(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(_))
}

/// One of the configured nodes, to connect to.
pub(super) struct Node {
    /// `amqp://user:***@host:port/vhost`, for logs.
    pub address: String,
    pub uri: AMQPUri,
    tls: TlsFiles,
}

pub(super) type Reader = ReadHalf<Stream>;
pub(super) type Writer = WriteHalf<Stream>;

impl Node {
    /// Connects, for those who speak the protocol themselves.
    pub async fn stream(&self) -> Result<(Reader, Writer), AmqpError> {
        Ok(stream::connect(&self.uri, &self.tls).await.map_err(lost)?.split())
    }
}

/// What `open` makes of the first node that answers within `broker.connect_timeout`.
///
/// Errors: the last node's, with the address and without the password.
pub(super) async fn first_node<T, Opening>(
    broker: &Broker,
    open: impl Fn(Node) -> Opening,
) -> Result<T, AmqpError>
where
    Opening: Future<Output = Result<T, AmqpError>>,
{
    let tls = tls(broker).await?;
    let mut failed = AmqpError::Unreachable("broker.uri is empty".into());
    for uri in &broker.uri {
        let address = uri.to_string();
        let opening = async {
            open(Node { address: address.clone(), uri: parsed(uri)?, tls: tls.clone() }).await
        };
        failed = match timeout(broker.connect_timeout, opening).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => explain(error, &address),
            Err(_) => {
                let seconds = broker.connect_timeout.as_secs();
                AmqpError::HandshakeTimedOut { address, seconds }
            }
        };
    }
    Err(failed)
}

/// What a connection of our own ends with.
pub(super) fn lost(error: impl std::fmt::Display) -> AmqpError {
    AmqpError::Lost(error.to_string())
}

pub(super) fn unexpected() -> AmqpError {
    lost("the broker sent something unexpected")
}

/// The largest frame to ask for, RabbitMQ's own default. The client library makes room for many frames of
/// the agreed size at once, and some brokers are set to 1 GiB, or to 0, which is no limit.
const FRAME_MAX_BYTES: u32 = 128 * 1024;
/// The largest that an address may ask for with `?frame_max=`.
const MOST_FRAME_MAX_BYTES: u32 = 1024 * 1024;

/// The address of a node, as the client library wants it.
pub(super) fn parsed(uri: &Uri) -> Result<AMQPUri, AmqpError> {
    let invalid = |problem| AmqpError::InvalidUri { address: uri.to_string(), problem };
    let mut parsed: AMQPUri = uri.expose().parse().map_err(invalid)?;
    let frame_max = match parsed.query.frame_max {
        None | Some(0) => FRAME_MAX_BYTES,
        Some(small @ 1..LEAST_FRAME_MAX_BYTES) => {
            return Err(invalid(format!(
                "frame_max={small} is too small: take {LEAST_FRAME_MAX_BYTES} or more, or leave it out"
            )));
        }
        Some(bytes) => bytes.min(MOST_FRAME_MAX_BYTES),
    };
    parsed.query.frame_max = Some(frame_max);
    // lapin's parser knows no IPv6 address and would take localhost instead
    if let Some(url::Host::Ipv6(host)) =
        url::Url::parse(uri.expose()).ok().and_then(|url| url.host().map(|host| host.to_owned()))
    {
        parsed.authority.host = host.to_string();
    }
    Ok(parsed)
}

pub(super) async fn tls(broker: &Broker) -> Result<TlsFiles, AmqpError> {
    let authorities = match &broker.ca_file {
        Some(file) => Some(read(file).await?),
        None => None,
    };
    let identity = match (&broker.cert_file, &broker.key_file) {
        (Some(certificates), Some(key)) => Some((read(certificates).await?, read(key).await?)),
        _ => None,
    };
    Ok(TlsFiles { authorities, identity })
}

async fn read(file: &Path) -> Result<Vec<u8>, AmqpError> {
    let unreadable = |problem: std::io::Error| AmqpError::UnreadableFile {
        file: file.display().to_string(),
        problem: problem.to_string(),
    };
    tokio::fs::read(file).await.map_err(unreadable)
}

/// Names the node and says what to look at for the usual refusals.
fn explain(error: AmqpError, address: &str) -> AmqpError {
    match error {
        AmqpError::Closed { code: 403, text } => AmqpError::Closed {
            code: 403,
            text: format!("{text} (at {address}: check user name and password)"),
        },
        AmqpError::Closed { code, text } => {
            AmqpError::Closed { code, text: format!("{text} (at {address})") }
        }
        AmqpError::Lost(problem) => AmqpError::Unreachable(format!(
            "{address}: {problem}{}",
            hint(&problem, address).unwrap_or_default()
        )),
        other => other,
    }
}

/// What to set for a refusal that only names the alert of the TLS layer, or nothing at all.
fn hint(problem: &str, address: &str) -> Option<&'static str> {
    let hints = [
        (
            "CertificateRequired",
            " (the broker wants a client certificate: set broker.cert_file and broker.key_file)",
        ),
        (
            "UnknownIssuer",
            " (set broker.ca_file to the authority that signed the broker's certificate)",
        ),
        (
            "not valid for name",
            " (the broker's certificate is for another host name than broker.uri names)",
        ),
        ("certificate expired", " (the broker's certificate has to be renewed)"),
        ("KeyMismatch", " (broker.key_file is not the key of broker.cert_file)"),
        ("alert: CertificateExpired", " (the certificate in broker.cert_file has to be renewed)"),
        (
            "alert: UnknownCA",
            " (the broker does not trust the authority that signed broker.cert_file)",
        ),
    ];
    // a broker that refuses a certificate may hang up before its alert is read
    let hung_up = address.starts_with("amqps") && problem.contains("reset by peer");
    if hung_up {
        return Some(
            " (it may want a client certificate, or refuse that of broker.cert_file: its log says which)",
        );
    }
    if problem.contains("reset by peer") {
        return Some(
            " (a broker with frame_max below 8192 hangs up so: set 8192 or more in rabbitmq.conf; its log says why)",
        );
    }
    hints.into_iter().find(|(alert, _)| problem.contains(alert)).map(|(_, hint)| hint)
}
