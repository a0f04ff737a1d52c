//! RabbitMQ: a quorum queue of three members, persistent messages, publisher confirms, an acknowledgement a message.

use std::task::Poll;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures::future::{self, try_join_all};
use futures::stream::ReadyChunks;
use futures::{FutureExt as _, StreamExt as _, poll};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use crate::broker::{Broker, Confirm, Consumer, Producer};

/// Unacknowledged messages of one consumer.
const PREFETCH: u16 = 256;
/// Most deliveries taken at once.
const CHUNK: usize = 64;
const PERSISTENT: u8 = 2;
/// The queue is declared here, and the locator `client-local` makes this node its leader.
const HOME: usize = 0;

/// A cluster, by the addresses of its nodes.
pub struct RabbitMq {
    /// `host:port` of each.
    pub nodes: Vec<String>,
    /// Name of the queue.
    pub queue: String,
}

impl RabbitMq {
    async fn connect(&self, node: usize) -> Result<(Connection, Channel)> {
        let address = &self.nodes[node % self.nodes.len()];
        let uri = format!("amqp://guest:guest@{address}/%2f?heartbeat=30");
        let connecting = Connection::connect(&uri, ConnectionProperties::default()).await;
        let connection = connecting.with_context(|| format!("RabbitMQ at {address}"))?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }
}

impl Broker for RabbitMq {
    type Producer = Publisher;
    type Consumer = Subscriber;

    async fn create(&self) -> Result<()> {
        let (_connection, channel) = self.connect(HOME).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-quorum-initial-group-size".into(), AMQPValue::LongInt(3));
        arguments.insert("x-queue-leader-locator".into(), AMQPValue::LongString("client-local".into()));
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(self.queue.as_str().into(), options, arguments).await?;
        Ok(())
    }

    async fn producer(&self, node: usize) -> Result<Publisher> {
        let (connection, channel) = self.connect(node).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Publisher { connection, channel, queue: self.queue.clone() })
    }

    async fn consumer(&self, node: usize) -> Result<Subscriber> {
        let (connection, channel) = self.connect(node).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let (queue, options) = (self.queue.as_str().into(), BasicConsumeOptions::default());
        let deliveries = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        Ok(Subscriber { connection, channel, deliveries: deliveries.ready_chunks(CHUNK) })
    }

    async fn leader(&self) -> Result<usize> {
        Ok(HOME)
    }

    async fn stored(&self, node: usize) -> Result<u64> {
        let (_connection, channel) = self.connect(node).await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(self.queue.as_str().into(), options, FieldTable::default()).await?;
        Ok(queue.message_count().into())
    }

    async fn delete(&self) -> Result<()> {
        let (_connection, channel) = self.connect(HOME).await?;
        channel.queue_delete(self.queue.as_str().into(), QueueDeleteOptions::default()).await?;
        Ok(())
    }
}

/// See [`Producer`].
pub struct Publisher {
    connection: Connection,
    channel: Channel,
    queue: String,
}

impl Producer for Publisher {
    async fn send(&mut self, body: Bytes) -> Result<Confirm> {
        let (channel, queue) = (self.channel.clone(), self.queue.as_str().into());
        let mut publishing: Confirm = Box::pin(async move {
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            let options = BasicPublishOptions::default();
            let confirm = channel.basic_publish("".into(), queue, options, &body, properties).await?;
            match confirm.await? {
                Confirmation::Ack(None) => Ok(()),
                other => bail!("not confirmed: {other:?}"),
            }
        });
        // The first poll puts the message in the connection's queue. Waiting until it is written there would allow only
        // one message a write.
        match poll!(&mut publishing) {
            Poll::Ready(outcome) => Ok(future::ready(outcome).boxed()),
            Poll::Pending => Ok(publishing),
        }
    }

    async fn finish(self) -> Result<()> {
        Ok(self.connection.close(200, "".into()).await?)
    }
}

/// See [`Consumer`].
pub struct Subscriber {
    connection: Connection,
    channel: Channel,
    deliveries: ReadyChunks<lapin::Consumer>,
}

impl Consumer for Subscriber {
    type Ticket = u64;

    async fn next(&mut self) -> Result<Vec<(Bytes, u64)>> {
        let chunk = self.deliveries.next().await.context("the broker cancelled the consumer")?;
        let mut messages = Vec::with_capacity(chunk.len());
        for delivery in chunk {
            let delivery = delivery?;
            messages.push((Bytes::from(delivery.data), delivery.delivery_tag));
        }
        Ok(messages)
    }

    async fn ack(&mut self, tags: Vec<u64>) -> Result<()> {
        // Together, since each waits until its frame is written.
        let acks = tags.into_iter().map(|tag| self.channel.basic_ack(tag, BasicAckOptions::default()));
        try_join_all(acks).await?;
        Ok(())
    }

    async fn finish(self) -> Result<()> {
        Ok(self.connection.close(200, "".into()).await?)
    }
}
