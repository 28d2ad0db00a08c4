//! Endpoints of webhooks. One takes what comes; the others do what no receiver should, until they mend.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dormouse_core::message::{Headers, Message, Properties, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::error::DrillError;
use super::load::Load;
use super::record::Arrival;
use super::recorder::{SeenBook, now_ms};

/// What an endpoint does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manners {
    Takes,
    /// Takes it, and promises an answer of a megabyte that never comes.
    Boasts,
    /// Reads it, and says nothing.
    Hangs,
    /// Ends the connection without a look at it.
    Resets,
    /// Answers these bytes, and ends the connection.
    Answers(String),
}

/// Where it listens, and how it behaves.
pub struct Receiver {
    pub address: SocketAddr,
    pub name: &'static str,
    listener: Arc<TcpListener>,
    manners: Manners,
    mended: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    /// Serves, and ends with the receiver.
    tasks: JoinSet<()>,
}

const TAKEN: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
const BOAST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nshort";

/// More than any request of a drill.
const LARGEST_BYTES: usize = 4_000_000;

impl Receiver {
    /// Listens; who connects waits until it [serves](Self::serve).
    pub async fn open(name: &'static str, manners: Manners) -> Result<Self, DrillError> {
        let failed = |error| DrillError::of("an endpoint cannot listen", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        Ok(Self {
            address: listener.local_addr().map_err(failed)?,
            name,
            listener: listener.into(),
            manners,
            mended: Arc::default(),
            requests: Arc::default(),
            tasks: JoinSet::new(),
        })
    }

    /// Notes in `seen` what it takes, under its name.
    pub fn serve(&mut self, load: &Arc<Load>, seen: SeenBook) {
        let (listener, requests) = (self.listener.clone(), self.requests.clone());
        let endpoint = Endpoint {
            name: self.name,
            manners: self.manners.clone(),
            mended: self.mended.clone(),
            load: load.clone(),
            seen,
        };
        let endpoint = Arc::new(endpoint);
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                requests.fetch_add(1, Ordering::Relaxed);
                let endpoint = endpoint.clone();
                // a connection that breaks off is the other side's affair
                connections.spawn(async move { endpoint.answer(stream).await });
                while connections.try_join_next().is_some() {}
            }
        });
    }

    /// It takes what comes from now on.
    pub fn mend(&self) {
        self.mended.store(true, Ordering::Relaxed);
    }

    /// How many have connected.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

struct Endpoint {
    name: &'static str,
    manners: Manners,
    mended: Arc<AtomicBool>,
    load: Arc<Load>,
    seen: SeenBook,
}

impl Endpoint {
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let is_mended = self.mended.load(Ordering::Relaxed);
        let manners = if is_mended { &Manners::Takes } else { &self.manners };
        if *manners == Manners::Resets {
            // what was not read makes the end of it a reset
            stream.readable().await?;
            return Ok(());
        }
        let Some(message) = read(&mut stream).await? else { return Ok(()) };
        match manners {
            Manners::Takes | Manners::Boasts => {
                let (at_ms, queue) = (now_ms(), self.name.to_owned());
                let number = self.load.number(&message);
                self.seen.note(number, Arrival { queue, at_ms, redelivered: false, message });
                let answer = if *manners == Manners::Boasts { BOAST } else { TAKEN };
                stream.write_all(answer.as_bytes()).await?;
                if *manners == Manners::Boasts {
                    until_left(&mut stream).await;
                }
            }
            Manners::Hangs => until_left(&mut stream).await,
            Manners::Answers(bytes) => stream.write_all(bytes.as_bytes()).await?,
            Manners::Resets => unreachable!("it has read nothing"),
        }
        Ok(())
    }
}

async fn until_left(stream: &mut TcpStream) {
    let mut rest = [0; 64];
    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
}

/// A request as a message: its path is the routing key, its headers are headers. None if the other side left before
/// its end, or it is none.
async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Message>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(message) = message(&bytes) {
            return Ok(Some(message));
        }
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > LARGEST_BYTES {
            return Ok(None);
        }
    }
}

/// None if more of it has to come.
fn message(request: &[u8]) -> Option<Message> {
    const END: &[u8] = b"\r\n\r\n";
    let end = request.windows(END.len()).position(|at| at == END)?;
    let head = String::from_utf8_lossy(&request[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let path = lines.next()?.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let fields = lines.filter_map(|line| line.split_once(':'));
    let headers: Headers = fields
        .map(|(name, value)| (name.to_ascii_lowercase().as_str().into(), text(value.trim())))
        .collect();
    let told = |name: &str| headers.get(name).and_then(dormouse_core::message::as_text);
    let length = told("content-length")?.parse().ok()?;
    let body = request[end + END.len()..].get(..length)?.to_vec().into();
    let properties = Properties {
        message_id: told("webhook-id").map(Into::into),
        headers: headers.clone(),
        ..Properties::default()
    };
    Some(Message { exchange: String::new(), routing_key: path, properties, body })
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn a_request_is_a_message_once_all_of_it_has_come() {
        let request =
            b"POST /hooks/7?x HTTP/1.1\r\nWebhook-Id: a:b\r\nContent-Length: 5\r\n\r\n\x00\r\n\r\n";
        for short in 0..request.len() {
            assert_eq!(message(&request[..short]), None, "{short}");
        }
        let whole = message(request).unwrap();
        assert_eq!(
            (whole.routing_key.as_str(), &whole.body[..]),
            ("/hooks/7?x", &b"\x00\r\n\r\n"[..])
        );
        assert_eq!(whole.properties.message_id.unwrap().as_str(), "a:b");
    }
}
