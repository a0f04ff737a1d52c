//! NATS JetStream: a file stream of three replicas with work-queue retention, one durable pull consumer, an explicit
//! acknowledgement a message.

use std::future::IntoFuture as _;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use async_nats::jetstream::consumer::{self, AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType};
use async_nats::jetstream::{self};
use async_nats::{ConnectOptions, ServerAddr};
use bytes::Bytes;
use futures::stream::ReadyChunks;
use futures::{FutureExt as _, StreamExt as _};

use crate::broker::{Broker, Confirm, Consumer, Producer};

/// Messages that one pull asks for.
const PREFETCH: usize = 256;
/// Most deliveries taken at once.
const CHUNK: usize = 64;
/// Unacknowledged messages of all consumers together; the default of 1,000 would starve them.
const ACK_PENDING: i64 = 20_000;
/// Longer than a confirmation takes at full load.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
const DURABLE: &str = "workers";
/// How long a new cluster may take until it has elected whoever keeps its streams.
const READY_ATTEMPTS: usize = 40;
const READY_PAUSE: Duration = Duration::from_millis(500);

/// A cluster, by the addresses of its nodes.
pub struct Nats {
    /// `host:port` of each, in the order of their names `n1`, `n2`, `n3`.
    pub nodes: Vec<String>,
    /// Name of the stream and of its subject.
    pub queue: String,
}

impl Nats {
    async fn connect(&self, node: usize) -> Result<Context> {
        let mut addresses = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            addresses.push(format!("nats://{node}").parse::<ServerAddr>()?);
        }
        let count = addresses.len();
        addresses.rotate_left(node % count);
        let options = ConnectOptions::new()
            .retain_servers_order()
            .ignore_discovered_servers()
            .subscription_capacity(65_536)
            .reconnect_delay_callback(|_| Duration::from_millis(20));
        let client = options.connect(addresses).await.context("NATS")?;
        Ok(ContextBuilder::new().ack_timeout(ACK_TIMEOUT).build(client))
    }

    /// One attempt to make the stream and its consumer.
    async fn try_create(&self, context: &Context) -> Result<()> {
        let stream = context
            .create_stream(stream::Config {
                name: self.queue.clone(),
                subjects: vec![self.queue.clone()],
                retention: RetentionPolicy::WorkQueue,
                storage: StorageType::File,
                num_replicas: 3,
                ..stream::Config::default()
            })
            .await?;
        let mut consumer = stream
            .get_or_create_consumer(
                DURABLE,
                pull::Config {
                    durable_name: Some(DURABLE.to_owned()),
                    ack_policy: AckPolicy::Explicit,
                    ack_wait: Duration::from_secs(60),
                    max_ack_pending: ACK_PENDING,
                    ..pull::Config::default()
                },
            )
            .await
            .map_err(|error| anyhow!("{error}"))?;
        self.leader_of(context).await?;
        let info = consumer.info().await?;
        info.cluster
            .as_ref()
            .and_then(|cluster| cluster.leader.as_ref())
            .context("the consumer has no leader")?;
        Ok(())
    }

    async fn leader_of(&self, context: &Context) -> Result<String> {
        let info = context.get_stream(&self.queue).await?.get_info().await?;
        info.cluster.and_then(|cluster| cluster.leader).context("the stream has no leader")
    }
}

impl Broker for Nats {
    type Producer = Publisher;
    type Consumer = Subscriber;

    async fn create(&self) -> Result<()> {
        let context = self.connect(0).await?;
        for _ in 1..READY_ATTEMPTS {
            if self.try_create(&context).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(READY_PAUSE).await;
        }
        self.try_create(&context).await
    }

    async fn producer(&self, node: usize) -> Result<Publisher> {
        Ok(Publisher { context: self.connect(node).await?, subject: self.queue.clone() })
    }

    async fn consumer(&self, node: usize) -> Result<Subscriber> {
        let context = self.connect(node).await?;
        let found = context.get_consumer_from_stream(DURABLE, &self.queue).await;
        let consumer: PullConsumer = found.map_err(|error| anyhow!("{error}"))?;
        let stream = consumer
            .stream()
            .max_messages_per_batch(PREFETCH)
            .expires(Duration::from_secs(30))
            .heartbeat(Duration::from_secs(10));
        let messages = stream.messages().await?;
        Ok(Subscriber { context, messages: messages.ready_chunks(CHUNK) })
    }

    async fn leader(&self) -> Result<usize> {
        let name = self.leader_of(&self.connect(0).await?).await?;
        let number: usize = name.trim_start_matches('n').parse().with_context(|| format!("node {name}"))?;
        number.checked_sub(1).context("nodes are named from n1")
    }

    async fn stored(&self, node: usize) -> Result<u64> {
        let context = self.connect(node).await?;
        Ok(context.get_stream(&self.queue).await?.get_info().await?.state.messages)
    }

    async fn delete(&self) -> Result<()> {
        self.connect(0).await?.delete_stream(&self.queue).await?;
        Ok(())
    }
}

/// See [`Producer`].
pub struct Publisher {
    context: Context,
    subject: String,
}

impl Producer for Publisher {
    async fn send(&mut self, body: Bytes) -> Result<Confirm> {
        let message = PublishMessage::build().payload(body);
        let answer = self.context.send_publish(self.subject.clone(), message).await?;
        Ok(answer.into_future().map(|answer| answer.map(drop).map_err(Into::into)).boxed())
    }

    async fn finish(self) -> Result<()> {
        Ok(self.context.client().drain().await?)
    }
}

/// See [`Consumer`].
pub struct Subscriber {
    context: Context,
    messages: ReadyChunks<consumer::pull::Stream>,
}

impl Consumer for Subscriber {
    type Ticket = jetstream::Message;

    async fn next(&mut self) -> Result<Vec<(Bytes, jetstream::Message)>> {
        let chunk = self.messages.next().await.context("the consumer has come to its end")?;
        let mut messages = Vec::with_capacity(chunk.len());
        for message in chunk {
            let message = message?;
            messages.push((message.payload.clone(), message));
        }
        Ok(messages)
    }

    async fn ack(&mut self, messages: Vec<jetstream::Message>) -> Result<()> {
        for message in messages {
            message.ack().await.map_err(|error| anyhow!("{error}"))?;
        }
        Ok(())
    }

    async fn finish(self) -> Result<()> {
        Ok(self.context.client().flush().await?)
    }
}
