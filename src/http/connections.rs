//! The connections of the HTTP port: so many at once and none for ever, so that slow or silent clients
//! take neither all file descriptors of the worker nor the port from the others.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// A quarter of the 1,024 file descriptors that a process often has.
pub const MOST: usize = 256;
/// A scraper or a probe that keeps its connection opens another one after that.
pub const LIFETIME: Duration = Duration::from_secs(60);

pub struct Connections {
    listener: TcpListener,
    free: Arc<Semaphore>,
    lifetime: Duration,
}

impl Connections {
    /// `most` at once; further ones wait until one ends. Each ends after `lifetime`.
    pub fn new(listener: TcpListener, most: usize, lifetime: Duration) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(most)), lifetime }
    }
}

impl Listener for Connections {
    type Io = Mortal;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Mortal, SocketAddr) {
        let permit = self.free.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let end = Box::pin(sleep(self.lifetime));
        (Mortal { stream, end, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection whose reads and writes fail once its time is over.
pub struct Mortal {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    /// None only if nobody counts: the semaphore is never closed.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Mortal {
    fn alive(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Mortal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Mortal {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
