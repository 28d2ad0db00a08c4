//! Accepts connections and answers on them, until it is stopped: then requests under way are answered, and new ones are
//! told so.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::{debug, info, warn};

use super::connections::{Connections, Place};
use super::gate::Gate;
use super::observed::Peer;
use super::state::{Api, ApiError};
use super::tls::LiveTls;
use crate::config::Config;

/// For the headers of a request, the silence before them included: a connection that is idle so long is closed.
const HEADERS_WITHIN: Duration = Duration::from_secs(60);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Of a request's line and headers.
const MOST_HEADER_BYTES: usize = 64 * 1024;
/// After a failed accept, as of a process without file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// For answers that are on their way when the last request is done.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The other half of a process's file descriptors is for RabbitMQ and files.
const SHARE_OF_DESCRIPTORS: u64 = 2;

/// A port that was taken, and its certificate.
pub struct Server {
    listener: std::net::TcpListener,
    tls: Option<LiveTls>,
    /// Who else may connect without TLS; none if everybody may.
    only: Option<Vec<IpNet>>,
    most: usize,
}

impl Server {
    /// Takes the port.
    ///
    /// Errors: another has it, or the certificate cannot be read.
    pub fn bind(config: &Config) -> Result<Self, ApiError> {
        let address = config.api.listen.ok_or_else(|| ApiError::Listen {
            address: "(nowhere)".into(),
            problem: "api.listen is empty".into(),
        })?;
        let listener = std::net::TcpListener::bind(address);
        let listener = listener.map_err(|error| failed(address)(&error))?;
        Self::on(listener, config)
    }

    /// On a port that somebody has taken.
    pub fn on(listener: std::net::TcpListener, config: &Config) -> Result<Self, ApiError> {
        let api = &config.api;
        let tls = match (&api.cert_file, &api.key_file) {
            (Some(certificates), Some(key)) => Some(LiveTls::open(certificates, key)?),
            _ => None,
        };
        let is_here = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let only = (!is_here && tls.is_none()).then(|| api.proxies());
        let most = usize::try_from(api.max_connections).unwrap_or(usize::MAX).min(room());
        Ok(Self { listener, tls, only, most })
    }

    /// Where it answers.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop`, and then for no longer than `grace`.
    pub async fn run(
        self,
        api: Api,
        routes: Router,
        stop: CancellationToken,
    ) -> Result<(), ApiError> {
        let address = self.address().map_err(|error| failed(([0, 0, 0, 0], 0).into())(&error))?;
        let listener = self.listener.set_nonblocking(true);
        let listener = listener.and_then(|()| TcpListener::from_std(self.listener));
        let listener = listener.map_err(|error| failed(address)(&error))?;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        info!(name: "api-serving", address = %format!("{scheme}://{address}"), connections = self.most, "the HTTP API answers");
        let (connections, ending) = (Connections::new(self.most), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let grace = api.config.stop.grace;
        let drained = drained(&api.gate, &stop, grace);
        tokio::pin!(drained);
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        warn!(name: "api-accept-failed", %error, "no connection can be accepted; trying again");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
                () = &mut drained => break,
            };
            while tasks.try_join_next().is_some() {}
            let peer = peer.ip();
            if self.only.as_ref().is_some_and(|only| !may_connect(only, peer)) {
                debug!(%peer, "a connection without TLS that is not from api.trusted_proxies is closed");
                continue;
            }
            // only now, so that none is closed as long as nobody waits
            let place = tokio::select! {
                place = connections.place() => place,
                () = &mut drained => break,
            };
            let connection = Connection { place, peer, routes: routes.clone() };
            tasks.spawn(connection.serve(stream, self.tls.clone(), ending.clone()));
        }
        ending.cancel();
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, all).await;
        Ok(())
    }

    /// What changes the certificate while it runs, if there is one.
    pub fn tls(&self) -> Option<LiveTls> {
        self.tls.clone()
    }
}

fn failed(address: SocketAddr) -> impl FnOnce(&io::Error) -> ApiError {
    move |error| ApiError::Listen { address: address.to_string(), problem: error.to_string() }
}

fn may_connect(only: &[IpNet], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || only.iter().any(|network| network.contains(&peer))
}

/// Waits for the stop, closes the gate, and waits until nobody is inside.
async fn drained(gate: &Gate, stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    gate.close();
    if timeout(grace, gate.empty()).await.is_err() {
        warn!(name: "api-stopped-with-requests", ?grace, "not all requests were answered in time");
    }
}

/// File descriptors for connections; as many as the process may have are asked for.
fn room() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // where that is not allowed, there are fewer
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(current / SHARE_OF_DESCRIPTORS).unwrap_or(usize::MAX)
}

struct Connection {
    place: Place,
    peer: IpAddr,
    routes: Router,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<LiveTls>, ending: CancellationToken) {
        // answers are small, and each is waited for
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return self.answer(stream, ending).await };
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE_WITHIN, tls.acceptor().accept(stream)) => shaken,
            () = self.place.evicted() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.answer(stream, ending).await,
            Ok(Err(error)) => debug!(peer = %self.peer, %error, "no TLS"),
            Err(_) => debug!(peer = %self.peer, "no TLS in time"),
        }
    }

    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Unpin, ending: CancellationToken) {
        let Self { place, peer, routes } = self;
        let answering = service_fn(|request: Request<Incoming>| {
            let (mut routes, busy) = (routes.clone(), place.busy());
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Peer(peer));
                // a stream keeps it until it ends
                request.extensions_mut().insert(busy.clone());
                let response: Result<Response, Infallible> = routes.call(request).await;
                drop(busy);
                response
            }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .max_buf_size(MOST_HEADER_BYTES)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), answering);
        tokio::pin!(serving);
        let mut is_ending = false;
        loop {
            tokio::select! {
                served = serving.as_mut() => {
                    if let Err(error) = served {
                        debug!(%peer, %error, "a connection ended");
                    }
                    return;
                }
                () = place.evicted() => return,
                () = ending.cancelled(), if !is_ending => {
                    serving.as_mut().graceful_shutdown();
                    is_ending = true;
                }
            }
        }
    }
}
