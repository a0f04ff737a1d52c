//! The typed client of Quorate, a Raft-replicated queue cluster.
//!
//! Name any nodes of the cluster: the client finds the leader, follows it when it moves, and repeats what had no
//! answer without storing or losing anything twice.
//!
//! ```no_run
//! use futures::StreamExt as _;
//! use quorate_client::{Client, Message, QueueSettings};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order {
//!     id: u64,
//! }
//!
//! # async fn example() -> Result<(), quorate_client::Error> {
//! let client = Client::builder().endpoints(["http://127.0.0.1:7400"]).build()?;
//! client.queues().create("orders", QueueSettings::default()).await?;
//! let orders = client.queue::<Order>("orders");
//!
//! let producer = orders.producer().open().await?;
//! let pending = producer.send(Message::new(Order { id: 1 }).key("customer-7")).await?;
//! println!("stored at {}", pending.await?.position);
//!
//! let mut consumer = orders.consumer().attach().await?;
//! while let Some(delivery) = consumer.next().await {
//!     let delivery = delivery?;
//!     println!("order {}, attempt {}", delivery.value.id, delivery.attempt);
//!     delivery.ack().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Most programs that receive are workers: a handler for each message, many at once, in order where there is one. What it returns settles the message,
//! and a [`Transaction`] happens with the acknowledgement, or not at all.
//!
//! ```no_run
//! # use quorate_client::{Client, Error, Job, Transaction};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Order { id: u64 }
//! async fn reserve(job: Job<Order>) -> Result<Transaction, Error> {
//!     let charges = job.client().queue::<Order>("charges");
//!     let key = format!("order/{}", job.value.id);
//!     Ok(job.transaction().put_json(&key, &"reserved").publish(&charges, Order { id: job.value.id }))
//! }
//!
//! # async fn example(client: Client) -> Result<(), Error> {
//! client.queue::<Order>("orders").worker().concurrency(32).run(reserve).await
//! # }
//! ```
//!
//! A producer's session survives the loss of its stream and of the leader; see [`Producer`] for what happens when
//! time runs out. A consumer's session does too: it gets its unsettled leases again, and what the application
//! still holds is not shown twice; see [`Consumer`].
#![warn(missing_docs)]

mod backoff;
mod client;
mod cluster;
mod codec;
mod connect;
mod consumer;
mod error;
mod leader;
mod message;
mod producer;
mod queue;
mod queues;
mod random;
mod reader;
mod request;
mod settings;
mod silence;
mod state;
mod status;
mod subscriptions;
mod trace;
mod transaction;
mod worker;

pub use client::{Client, ClientBuilder};
pub use cluster::Cluster;
pub use codec::{Codec, Json, Protobuf, Raw};
pub use connect::{BoxedIo, Connector, Io, TcpConnector};
pub use consumer::{Consumer, ConsumerBuilder, Delivery, FailedSettle, Outcome, Undecodable};
pub use error::{Details, EndpointAnswer, Error, Reason, Refusal, Unmet};
pub use message::{Message, Meta};
pub use producer::{Pending, Producer, ProducerBuilder, Receipt};
pub use queue::{Queue, RawQueue};
pub use queues::{Peek, Queues, Which};
pub use random::{Random, SystemRandom};
pub use reader::{Reader, StoredMessage};
pub use request::REPLY_TO;
pub use settings::{
    Filter, OnExhausted, OnFull, Order, QueueSettings, Retain, Selector, Start, SubscriptionSettings,
};
pub use state::{Snapshot, State, StateEntry};
pub use subscriptions::Subscriptions;
pub use trace::{ScopeTracer, TRACEPARENT, TRACESTATE, TraceContext, Tracer};
pub use transaction::{Committed, Placed, Transaction};
pub use worker::{Handled, Job, OnUndecodable, Worker, Working};

/// The wire's own types, where the client hands them out as they are.
pub use quorate_proto::v1 as wire;
