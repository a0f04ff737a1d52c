//! How bytes travel between nodes and to clients, as a trait: TCP in production, a simulated network in tests.

use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;

/// A connection.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A connection of any transport.
pub type BoxedIo = Box<dyn Io>;

/// Opens connections and listens for them.
pub trait Transport: Send + Sync + 'static {
    /// Connects to `host:port`. The caller sets the deadline.
    fn connect(&self, addr: String) -> BoxFuture<'static, io::Result<BoxedIo>>;

    /// Listens on `host:port`.
    fn listen(&self, addr: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;
}

/// A bound address.
pub trait Listener: Send + 'static {
    /// The next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxedIo>>;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// TCP, without delay for small packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Transport for Tcp {
    fn connect(&self, addr: String) -> BoxFuture<'static, io::Result<BoxedIo>> {
        Box::pin(async move {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxedIo)
        })
    }

    fn listen(&self, addr: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(TcpListener::bind(addr).await?) as Box<dyn Listener>) })
    }
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxedIo>> {
        Box::pin(async move {
            let (stream, _) = TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxedIo)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

impl Connected for BoxedIo {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
