//! What a worker tells of itself on `http.listen`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::inventory::Visible;
use crate::schedule::UnixMs;
use crate::worker::Clock;

/// A worker that is there answers within milliseconds.
const DEADLINE: Duration = Duration::from_secs(3);

/// Longer than any answer.
const MOST_BYTES: u64 = 64 * 1024;

/// As `/vitals` has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Vitals {
    pub version: String,
    pub now_ms: UnixMs,
    /// None: never since its start.
    pub scraped_ms_ago: Option<u64>,
    /// Since its start, as the next two.
    pub scheduled: Option<u64>,
    pub without_message_id: Option<u64>,
    pub transient: Option<u64>,
}

/// A worker that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedWorker {
    pub address: String,
    pub vitals: Visible<Vitals>,
    /// How far its clock is ahead of ours, in ms, to within half of the time that the answer took.
    pub ahead_ms: i64,
}

/// Where a worker of this configuration answers, seen from its own machine.
pub fn address(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port()).to_string()
}

/// Asks each of them once.
pub async fn ask(addresses: &[String], clock: &Clock) -> Vec<AskedWorker> {
    let mut asked = Vec::new();
    for address in addresses {
        asked.push(ask_one(address, clock).await);
    }
    asked
}

async fn ask_one(address: &str, clock: &Clock) -> AskedWorker {
    let begun = Instant::now();
    let answer = timeout(DEADLINE, get(address)).await;
    let middle = clock.now().minus(begun.elapsed() / 2);
    let vitals = match answer {
        Ok(Ok(body)) => serde_json::from_str::<Vitals>(&body)
            .map_err(|error| format!("{address} is no worker of this version: {error}")),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address} does not answer")),
    };
    let ahead_ms = vitals.as_ref().map_or(0, |vitals| vitals.now_ms.0 as i64 - middle.0 as i64);
    AskedWorker { address: address.to_owned(), vitals, ahead_ms }
}

/// HTTP/1.0: the answer is whole when the connection ends, and never in chunks.
async fn get(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /vitals HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some(status) => Err(io::Error::other(format!("it answers with status {status}"))),
        None => Err(io::Error::other("no HTTP is spoken there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        let of = |listen: &str| address(listen.parse().expect("an address"));
        assert_eq!(of("0.0.0.0:15790"), "127.0.0.1:15790");
        assert_eq!(of("[::]:15790"), "[::1]:15790");
        assert_eq!(of("10.0.0.7:1"), "10.0.0.7:1");
    }
}
