//! The few words of HTTP and AMQP that a node needs to hear whether it is ready.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http::{Answer, ask};
use super::ports::Ports;

/// No request here takes longer on a healthy node, not even a virtual host's creation on a busy machine.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// For asking again and again whether a node is ready. On 4.3 a question for statistics that comes too early hangs for
/// five seconds and then fails, while the same question a moment later is answered at once.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// `guest:guest`.
const CREDENTIALS: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

/// One request to the management API on loopback, as `guest`. `path` must be percent-encoded.
pub(super) async fn request(
    port: u16,
    method: &str,
    path: &str,
    deadline: Duration,
) -> io::Result<Answer> {
    within(deadline, async {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let headers = [("Authorization", CREDENTIALS), ("Content-Type", "application/json")];
        ask(stream, method, path, &headers, b"").await
    })
    .await
}

/// The broker's version, once the very node `name` (not someone who took its port) says that it listens for AMQP, and
/// does.
pub(super) async fn answering_version(ports: &Ports, name: &str) -> Option<String> {
    amqp_greets(ports.amqp).await.ok()?;
    let answer = request(ports.management, "GET", "/api/overview", PROBE_DEADLINE).await.ok()?;
    let overview: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
    let listens =
        overview["listeners"].as_array()?.iter().any(|listener| listener["protocol"] == "amqp");
    overview["rabbitmq_version"]
        .as_str()
        .filter(|_| listens && overview["node"] == name)
        .map(str::to_owned)
}

/// Ok once something on `port` greets as an AMQP 0-9-1 broker does: with a method frame (type 1), `connection.start`.
async fn amqp_greets(port: u16) -> io::Result<()> {
    within(PROBE_DEADLINE, async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        match stream.read_u8().await? {
            1 => Ok(()),
            other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame type {other}"))),
        }
    })
    .await
}

/// A name as one segment of a URI's path.
pub(super) fn encode(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

async fn within<T>(deadline: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(deadline, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_path_segment() {
        assert_eq!(encode("/"), "%2F");
        assert_eq!(encode("tests-1.a_b~"), "tests-1.a_b~");
        assert_eq!(encode("a b/ü"), "a%20b%2F%C3%BC");
    }
}
