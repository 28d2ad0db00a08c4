//! A TCP proxy between workers and their broker that cuts, stalls and slows. It accepts whatever the
//! weather, as a machine does whose network is in trouble.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::error::DrillError;

/// What the proxy does to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Connections older than this number are cut.
    cuts: u32,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every connection ends at once; new ones are fine.
    Cut,
    /// Nothing passes in this direction on these connections.
    Stall(Link, Way),
    /// Each few KiB take a while.
    Slow,
}

/// A worker's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Deliveries, and acks.
    Consume,
    /// Publishes, and their confirms.
    Publish,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToBroker,
    ToWorker,
    Both,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (link, way) = match self {
            Fault::Cut => return f.write_str("connections cut"),
            Fault::Slow => return f.write_str("connections slowed"),
            Fault::Stall(link, way) => (link, way),
        };
        f.write_str(match (link, way) {
            (Link::Publish, Way::ToBroker) => "publishes stalled",
            (Link::Publish, Way::ToWorker) => "confirms stalled",
            (Link::Publish, Way::Both) => "publishes and confirms stalled",
            (Link::Consume, Way::ToBroker) => "acks stalled",
            (Link::Consume, Way::ToWorker) => "deliveries stalled",
            (Link::Consume, Way::Both) => "deliveries and acks stalled",
            (Link::Both, Way::ToBroker) => "publishes and acks stalled",
            (Link::Both, Way::ToWorker) => "deliveries and confirms stalled",
            (Link::Both, Way::Both) => "everything stalled",
        })
    }
}

/// By the name that a connection tells in its first frames.
const PUBLISHES: &[u8] = b"dormouse publish";

const CHUNK_BYTES: usize = 16 * 1024;
const SLOW: Duration = Duration::from_millis(40);

pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Accepts, and ends with the proxy.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Stands before `port` on loopback.
    pub async fn before(port: u16) -> Result<Self, DrillError> {
        let failed = |error| DrillError::of("a proxy cannot listen", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (weather, seen) = watch::channel(Weather { cuts: 0, fault: None });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, port, seen));
        Ok(Self { address, weather, _tasks: tasks })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn set(&self, fault: Fault) {
        self.weather.send_modify(|weather| match fault {
            Fault::Cut => weather.cuts += 1,
            Fault::Stall(..) | Fault::Slow => weather.fault = Some(fault),
        });
    }

    pub fn clear(&self) {
        self.weather.send_modify(|weather| weather.fault = None);
    }
}

async fn accept(listener: TcpListener, port: u16, weather: watch::Receiver<Weather>) {
    let mut pumps = JoinSet::new();
    while let Ok((worker, _)) = listener.accept().await {
        // a broker that is down refuses, and so the worker is cut off
        let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { continue };
        let _ = (worker.set_nodelay(true), broker.set_nodelay(true));
        let (from_worker, to_worker) = worker.into_split();
        let (from_broker, to_broker) = broker.into_split();
        let born = weather.borrow().cuts;
        let pump = |way| Pump { way, born, publishes: Arc::default(), weather: weather.clone() };
        let up = pump(Way::ToBroker);
        let down = Pump { publishes: up.publishes.clone(), ..pump(Way::ToWorker) };
        pumps.spawn(async move {
            // one direction that ends takes the other with it
            tokio::select! {
                () = up.run(from_worker, to_broker) => {}
                () = down.run(from_broker, to_worker) => {}
            }
        });
        while pumps.try_join_next().is_some() {}
    }
}

/// One direction of one connection.
struct Pump {
    way: Way,
    born: u32,
    publishes: Arc<AtomicBool>,
    weather: watch::Receiver<Weather>,
}

impl Pump {
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut weather = self.weather.clone();
        let cut = async {
            // it fails when the proxy ends, which cuts too
            let _ = weather.wait_for(|weather| weather.cuts > self.born).await;
        };
        let pumping = async {
            let mut chunk = vec![0; CHUNK_BYTES];
            loop {
                let Ok(bytes @ 1..) = from.read(&mut chunk).await else { return };
                if chunk[..bytes].windows(PUBLISHES.len()).any(|name| name == PUBLISHES) {
                    self.publishes.store(true, Ordering::Relaxed);
                }
                let (way, publishes) = (self.way, self.publishes.clone());
                let passes =
                    |weather: &Weather| !weather.stalls(way, publishes.load(Ordering::Relaxed));
                let Ok(now) = self.weather.wait_for(passes).await.map(|weather| *weather) else {
                    return;
                };
                if now.fault == Some(Fault::Slow) {
                    tokio::time::sleep(SLOW).await;
                }
                if to.write_all(&chunk[..bytes]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = cut => {}
            () = pumping => {}
        }
    }
}

impl Weather {
    fn stalls(&self, way: Way, publishes: bool) -> bool {
        let Some(Fault::Stall(link, stalled)) = self.fault else { return false };
        let this_link = match link {
            Link::Both => true,
            Link::Publish => publishes,
            Link::Consume => !publishes,
        };
        this_link && (stalled == Way::Both || stalled == way)
    }
}
