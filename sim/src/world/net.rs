//! The network: links that somebody else cuts, slows and mends, and connections over them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use quorate_raft::transport::{BoxedIo, Listener, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::Gate;

/// Name of a node's host.
pub(crate) fn node_name(id: usize) -> String {
    format!("n{}", id + 1)
}

/// Name of a client's host.
pub(crate) fn client_name(id: usize) -> String {
    format!("c{}", id + 1)
}

/// What stops messages from one host to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cut {
    /// Somebody wanted it.
    by_fault: bool,
    /// One of the two has no power.
    by_power: bool,
}

/// Which links are cut. Turmoil forgets why a link is cut, so that two reasons at once are kept apart here.
pub(crate) struct Net {
    hosts: Vec<String>,
    nodes: usize,
    cut: Vec<Cut>,
}

impl Net {
    pub(super) fn new(nodes: usize, clients: usize) -> Self {
        let hosts: Vec<String> = (0..nodes).map(node_name).chain((0..clients).map(client_name)).collect();
        let cut = vec![Cut::default(); hosts.len() * hosts.len()];
        Net { hosts, nodes, cut }
    }

    /// How many hosts there are: first the nodes, then the clients.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// How many of them are nodes.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    pub(crate) fn name(&self, host: usize) -> &str {
        &self.hosts[host]
    }

    /// Lets nothing pass from one host to another. What is under way is lost.
    pub(crate) fn cut(&mut self, sim: &turmoil::Sim<'_>, from: usize, to: usize) {
        self.change(sim, from, to, |cut| cut.by_fault = true);
    }

    /// Lets messages pass again.
    pub(crate) fn mend(&mut self, sim: &turmoil::Sim<'_>, from: usize, to: usize) {
        self.change(sim, from, to, |cut| cut.by_fault = false);
    }

    pub(super) fn power_off(&mut self, sim: &turmoil::Sim<'_>, host: usize) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.change(sim, host, other, |cut| cut.by_power = true);
            self.change(sim, other, host, |cut| cut.by_power = true);
        }
    }

    pub(super) fn power_on(&mut self, sim: &turmoil::Sim<'_>, host: usize) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            self.change(sim, host, other, |cut| cut.by_power = false);
            self.change(sim, other, host, |cut| cut.by_power = false);
        }
    }

    fn change(&mut self, sim: &turmoil::Sim<'_>, from: usize, to: usize, how: impl FnOnce(&mut Cut)) {
        let cut = &mut self.cut[from * self.hosts.len() + to];
        let was = *cut != Cut::default();
        how(cut);
        let is = *cut != Cut::default();
        match (was, is) {
            (false, true) => sim.partition_oneway(self.hosts[from].as_str(), self.hosts[to].as_str()),
            (true, false) => sim.repair_oneway(self.hosts[from].as_str(), self.hosts[to].as_str()),
            _ => {}
        }
    }
}

/// A transport over simulated links, for one life of a process.
#[derive(Clone)]
pub(crate) struct Links(pub(crate) Gate);

impl Links {
    pub(crate) async fn open(self, addr: String) -> io::Result<Gated> {
        Ok(Gated { stream: TcpStream::connect(addr).await?, gate: self.0 })
    }
}

impl Transport for Links {
    fn connect(&self, addr: String) -> BoxFuture<'static, io::Result<BoxedIo>> {
        let links = self.clone();
        Box::pin(async move { Ok(Box::new(links.open(addr).await?) as BoxedIo) })
    }

    fn listen(&self, addr: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let gate = self.0.clone();
        Box::pin(async move {
            let listener = TcpListener::bind(addr).await?;
            Ok(Box::new(GatedListener { listener, gate }) as Box<dyn Listener>)
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
    gate: Gate,
}

impl Listener for GatedListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxedIo>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            Ok(Box::new(Gated { stream, gate: self.gate.clone() }) as BoxedIo)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
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
