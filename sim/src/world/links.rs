//! Connections of one life of a process.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use quorate_raft::transport::{BoxedIo, Listener, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::Gate;
use super::reach::{RESEND, Reach};

/// A transport over simulated links, for one life of a process.
#[derive(Clone)]
pub(crate) struct Links {
    pub(super) gate: Gate,
    pub(super) reach: Arc<Reach>,
    /// The host it runs on.
    pub(super) host: usize,
}

impl Links {
    pub(crate) async fn open(self, addr: String) -> io::Result<Gated> {
        loop {
            match TcpStream::connect(addr.as_str()).await {
                Ok(stream) => return Ok(Gated { stream, gate: self.gate }),
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && !self.is_refusal(&addr) => {
                    tokio::time::sleep(RESEND).await;
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn is_refusal(&self, addr: &str) -> bool {
        let place = addr.split_once(':').and_then(|(host, port)| {
            let node: usize = host.strip_prefix('n')?.parse().ok()?;
            Some((node.checked_sub(1)?, port.parse().ok()?))
        });
        place.is_none_or(|(node, port)| self.reach.refuses(self.host, node, port))
    }
}

impl Transport for Links {
    fn connect(&self, addr: String) -> BoxFuture<'static, io::Result<BoxedIo>> {
        let links = self.clone();
        Box::pin(async move { Ok(Box::new(links.open(addr).await?) as BoxedIo) })
    }

    fn listen(&self, addr: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let links = self.clone();
        Box::pin(async move {
            let listener = TcpListener::bind(addr).await?;
            let port = listener.local_addr()?.port();
            links.reach.set_listening(links.host, port, true);
            Ok(Box::new(GatedListener { listener, port, links }) as Box<dyn Listener>)
        })
    }
}

impl quorate_client::Connector for Links {
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<quorate_client::BoxedIo>> {
        let (links, addr) = (self.clone(), format!("{host}:{port}"));
        Box::pin(async move { Ok(Box::new(links.open(addr).await?) as quorate_client::BoxedIo) })
    }
}

struct GatedListener {
    listener: TcpListener,
    port: u16,
    links: Links,
}

impl Listener for GatedListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxedIo>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            Ok(Box::new(Gated { stream, gate: self.links.gate.clone() }) as BoxedIo)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Drop for GatedListener {
    fn drop(&mut self) {
        self.links.reach.set_listening(self.links.host, self.port, false);
    }
}

/// A connection that falls silent with its process.
pub(crate) struct Gated {
    stream: TcpStream,
    gate: Gate,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gate.is_closed() {
            return Poll::Pending; // its process is gone at the end of the tick
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
