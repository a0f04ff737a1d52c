//! How connections are made. Any byte stream will do, which is how a simulation drives the client.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::error::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Every frame is a call to the system, at the sender and at the receiver.
const FRAME_BYTES_MAX: u32 = 256 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest gRPC message in either direction: a batch of the largest size with room to spare.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A byte stream to a server.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// An owned [`Io`].
pub type BoxedIo = Box<dyn Io>;

/// Makes connections. An attempt that takes longer than one second is given up.
///
/// ```no_run
/// # use std::io;
/// # use futures::future::BoxFuture;
/// # use quorate_client::{BoxedIo, Client, Connector, Error, TcpConnector};
/// # fn example() -> Result<(), Error> {
/// /// Everything through a tunnel that ends here, whatever the members call themselves.
/// struct Tunnel;
///
/// impl Connector for Tunnel {
///     fn connect(&self, _: &str, port: u16) -> BoxFuture<'static, io::Result<BoxedIo>> {
///         TcpConnector.connect("127.0.0.1", port)
///     }
/// }
///
/// let client = Client::builder().connector(Tunnel).build()?;
/// # Ok(())
/// # }
/// ```
pub trait Connector: Send + Sync + 'static {
    /// Opens a byte stream to the client API at `host:port`.
    ///
    /// # Errors
    /// Whatever keeps the connection from being made; the client tries elsewhere and comes back.
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<BoxedIo>>;
}

/// Plain TCP, without Nagle's delay.
///
/// ```no_run
/// # use quorate_client::{Client, Error, TcpConnector};
/// # async fn example() -> Result<(), Error> {
/// let client = Client::builder().connector(TcpConnector).build()?; // the default
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<BoxedIo>> {
        let host = host.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxedIo)
        })
    }
}

/// `host:port` of an endpoint, the form in which servers name each other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(String);

impl Address {
    /// Reads `http://host:port`, `host:port` or `[v6]:port`; the port defaults to 7400.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::Config(format!("{text:?} is no endpoint: {why}"));
        if text.starts_with("https://") {
            return Err(bad("this version speaks plain http:// only"));
        }
        let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let authority: http::uri::Authority =
            bare.parse().map_err(|_| bad("it should read http://host:port"))?;
        if authority.host().is_empty() || bare.contains('@') {
            return Err(bad("it should read http://host:port"));
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => 7400,
            rest => match rest.and_then(|rest| rest.strip_prefix(':')).map(str::parse::<u16>) {
                Some(Ok(port)) if port > 0 => port,
                _ => return Err(bad("the port is a number from 1 to 65535")),
            },
        };
        Ok(Self(format!("{}:{port}", authority.host())))
    }

    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A channel that connects when it is first used, and again whenever the connection is lost.
pub(crate) fn channel(address: &Address, connector: &Arc<dyn Connector>) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Error::Config(format!("{address} is no endpoint: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(Adapter(connector.clone())))
}

/// A [`Connector`] as tonic wants it.
struct Adapter(Arc<dyn Connector>);

impl tower::Service<http::Uri> for Adapter {
    type Response = TokioIo<BoxedIo>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        // An IPv6 host stands in brackets in a URI, and without them everywhere else.
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let connecting = self.0.connect(host, uri.port_u16().unwrap_or(7400));
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(stream) => Ok(TokioIo::new(stream?)),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within 1 s")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_in_every_usual_form() {
        for (text, address) in [
            ("http://127.0.0.1:7400", "127.0.0.1:7400"),
            ("http://n1.example/", "n1.example:7400"),
            ("n1:9000", "n1:9000"),
            ("http://[::1]:7410", "[::1]:7410"),
        ] {
            assert_eq!(Address::parse(text).unwrap().as_str(), address);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in ["", "http://", "https://n1:7400", "n1:port", "n1:", "http://user@n1:7400", "n1:70000"] {
            assert!(matches!(Address::parse(text), Err(Error::Config(_))), "{text}");
        }
    }
}
