//! What the generator asks of a broker: the same of each, so that one generator measures them all.

use std::future::Future;

use anyhow::Result;
use bytes::Bytes;
use futures::future::BoxFuture;

/// Ends when the broker has confirmed the message.
pub type Confirm = BoxFuture<'static, Result<()>>;

/// A cluster of three nodes and the one queue that a run uses. Nodes are counted from 0.
pub trait Broker: Send + Sync + 'static {
    /// See [`Producer`].
    type Producer: Producer;
    /// See [`Consumer`].
    type Consumer: Consumer;

    /// Makes the queue, empty and replicated to all three nodes, and waits until it takes messages.
    fn create(&self) -> impl Future<Output = Result<()>> + Send;

    /// A producer with a connection of its own to this node, or to the leader where the client finds it by itself.
    fn producer(&self, node: usize) -> impl Future<Output = Result<Self::Producer>> + Send;

    /// A consumer with a connection of its own.
    fn consumer(&self, node: usize) -> impl Future<Output = Result<Self::Consumer>> + Send;

    /// Which node leads the queue.
    fn leader(&self) -> impl Future<Output = Result<usize>> + Send;

    /// How many messages the queue holds, as this node says.
    fn stored(&self, node: usize) -> impl Future<Output = Result<u64>> + Send;

    /// Deletes the queue.
    fn delete(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Hands messages in.
pub trait Producer: Send + 'static {
    /// Hands a message over, without waiting for its confirmation.
    fn send(&mut self, body: Bytes) -> impl Future<Output = Result<Confirm>> + Send;

    /// The orderly end, after the last confirmation.
    fn finish(self) -> impl Future<Output = Result<()>> + Send;
}

/// Takes messages and acknowledges each one.
pub trait Consumer: Send + 'static {
    /// What a message is acknowledged with.
    type Ticket: Send;

    /// Waits for a message and takes those that have arrived already. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Result<Vec<(Bytes, Self::Ticket)>>> + Send;

    /// Hands in an acknowledgement for each.
    fn ack(&mut self, tickets: Vec<Self::Ticket>) -> impl Future<Output = Result<()>> + Send;

    /// The orderly end: acknowledgements that failed show here, where the broker answers them at all.
    fn finish(self) -> impl Future<Output = Result<()>> + Send;
}
