//! Quorate, through its own client, which finds the leader by itself.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::FutureExt as _;
use quorate_client::wire::Role;
use quorate_client::{Client, Delivery, QueueSettings, Raw};

use crate::broker::{Broker, Confirm, Consumer, Producer};

/// Unacknowledged messages of one consumer.
const CREDIT: u32 = 256;
/// Most deliveries taken at once.
const CHUNK: usize = 64;

/// A cluster, by the addresses of its nodes.
pub struct Quorate {
    /// `host:port` of each, in the order of their names `n1`, `n2`, `n3`.
    pub nodes: Vec<String>,
    /// Name of the queue.
    pub queue: String,
    /// Most messages without a confirmation.
    pub window: u32,
}

impl Quorate {
    fn client(&self, node: usize) -> Result<Client> {
        let mut endpoints: Vec<String> = self.nodes.iter().map(|node| format!("http://{node}")).collect();
        let count = endpoints.len();
        endpoints.rotate_left(node % count);
        Ok(Client::builder().endpoints(endpoints).timeout(Duration::from_secs(30)).build()?)
    }
}

impl Broker for Quorate {
    type Producer = Publisher;
    type Consumer = Subscriber;

    async fn create(&self) -> Result<()> {
        self.client(0)?.queues().create(&self.queue, QueueSettings::default()).await?;
        Ok(())
    }

    async fn producer(&self, node: usize) -> Result<Publisher> {
        let queue = self.client(node)?.raw_queue(&self.queue);
        Ok(Publisher(queue.producer().window(self.window).open().await?))
    }

    async fn consumer(&self, node: usize) -> Result<Subscriber> {
        let queue = self.client(node)?.raw_queue(&self.queue);
        Ok(Subscriber(queue.consumer().credit(CREDIT).attach().await?))
    }

    async fn leader(&self) -> Result<usize> {
        let replicas = self.client(0)?.cluster().status().await?;
        let leader = replicas.iter().find(|replica| replica.role() == Role::Leader);
        let name = &leader.context("no node says that it leads")?.name;
        let number: usize = name.trim_start_matches('n').parse().with_context(|| format!("node {name}"))?;
        number.checked_sub(1).context("nodes are named from n1")
    }

    async fn stored(&self, node: usize) -> Result<u64> {
        Ok(self.client(node)?.queues().stat(&self.queue, "").await?.length)
    }

    async fn delete(&self) -> Result<()> {
        Ok(self.client(0)?.queues().delete(&self.queue).await?)
    }
}

/// See [`Producer`].
pub struct Publisher(quorate_client::Producer<Bytes, Raw>);

impl Producer for Publisher {
    async fn send(&mut self, body: Bytes) -> Result<Confirm> {
        let pending = self.0.send(body).await?;
        Ok(pending.map(|receipt| receipt.map(drop).map_err(Into::into)).boxed())
    }

    async fn finish(self) -> Result<()> {
        Ok(self.0.close().await?)
    }
}

/// See [`Consumer`].
pub struct Subscriber(quorate_client::Consumer<Bytes, Raw>);

impl Consumer for Subscriber {
    type Ticket = Delivery<Bytes>;

    async fn next(&mut self) -> Result<Vec<(Bytes, Delivery<Bytes>)>> {
        let first = self.0.next().await.context("the consumer has come to its end")??;
        let mut messages = vec![(first.value.clone(), first)];
        while messages.len() < CHUNK
            && let Some(delivery) = self.0.try_next()
        {
            let delivery = delivery?;
            messages.push((delivery.value.clone(), delivery));
        }
        Ok(messages)
    }

    async fn ack(&mut self, deliveries: Vec<Delivery<Bytes>>) -> Result<()> {
        deliveries.into_iter().for_each(Delivery::ack_later);
        Ok(())
    }

    async fn finish(self) -> Result<()> {
        if let Some(failed) = self.0.settled().await?.into_iter().next() {
            return Err(failed.error).with_context(|| format!("acknowledging message {}", failed.position));
        }
        Ok(self.0.detach().await?)
    }
}
