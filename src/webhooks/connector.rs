//! Connects to endpoints: asks for a host's addresses itself, and connects to what was checked and to nothing else, so
//! that a name that answers differently a moment later leads nowhere.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower_service::Service;

use super::address::{Allowed, Forbidden};

/// For a name and a connection together.
pub const CONNECT: Duration = Duration::from_secs(5);

/// Connects to what the file of endpoints allows now.
#[derive(Debug, Clone)]
pub struct GuardedConnector {
    allowed: Arc<RwLock<Allowed>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{host}: {forbidden}")]
    Forbidden { host: String, forbidden: Forbidden },
    #[error("{host}: {problem}")]
    Failed { host: String, problem: io::Error },
}

impl GuardedConnector {
    pub fn new(allowed: Arc<RwLock<Allowed>>) -> Self {
        Self { allowed }
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let allowed = self.allowed.read().expect("no panic while it is replaced").clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_owned();
            let failed = |problem| ConnectError::Failed { host: host.clone(), problem };
            match timeout(CONNECT, connect(&uri, &host, &allowed)).await {
                Ok(connected) => connected,
                Err(_) => {
                    let seconds = CONNECT.as_secs();
                    Err(failed(io::Error::other(format!("no connection within {seconds} s"))))
                }
            }
        })
    }
}

async fn connect(
    uri: &Uri,
    host: &str,
    allowed: &Allowed,
) -> Result<TokioIo<TcpStream>, ConnectError> {
    let failed = |problem| ConnectError::Failed { host: host.to_owned(), problem };
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let addresses = addresses(host, port).await.map_err(failed)?;
    // one bad answer among good ones is somebody's attempt, and which is taken would be chance
    for address in &addresses {
        allowed
            .check(*address)
            .map_err(|forbidden| ConnectError::Forbidden { host: host.to_owned(), forbidden })?;
    }
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed)?;
                return Ok(TokioIo::new(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = literal.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    Ok(lookup_host((host, port)).await?.collect())
}
