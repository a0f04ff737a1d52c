//! A queue: where producers and consumers of one type come from.

use std::marker::PhantomData;

use bytes::Bytes;

use crate::client::Client;
use crate::codec::Raw;
use crate::consumer::ConsumerBuilder;
use crate::producer::ProducerBuilder;
use crate::worker::Worker;

/// A queue of values of type `T`, encoded by `C`. Cheap to clone. Making one asks nobody whether the queue exists.
///
/// ```no_run
/// # use serde::{Deserialize, Serialize};
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// #[derive(Serialize, Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// let orders = client.queue::<Order>("orders"); // in JSON
/// let images = client.raw_queue("images"); // bytes as they are
/// orders.producer().open().await?.publish(Order { id: 7 }).await?;
/// # Ok(())
/// # }
/// ```
pub struct Queue<T, C> {
    client: Client,
    name: String,
    codec: C,
    of: PhantomData<fn() -> T>,
}

/// A queue of bodies as they are.
pub type RawQueue = Queue<Bytes, Raw>;

impl<T, C: Clone> Queue<T, C> {
    /// Starts building a producer.
    pub fn producer(&self) -> ProducerBuilder<T, C> {
        ProducerBuilder::new(self.client.clone(), self.name.clone(), self.codec.clone())
    }

    /// Starts building a consumer.
    pub fn consumer(&self) -> ConsumerBuilder<T, C> {
        ConsumerBuilder::new(self.client.clone(), self.name.clone(), self.codec.clone())
    }

    /// Starts building a worker: a consumer that calls a handler for each message.
    pub fn worker(&self) -> Worker<T, C> {
        Worker::new(self.client.clone(), self.consumer())
    }
}

impl<T, C: Clone> Clone for Queue<T, C> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), self.name.clone(), self.codec.clone())
    }
}

impl<T, C> Queue<T, C> {
    pub(crate) fn new(client: Client, name: String, codec: C) -> Self {
        Self { client, name, codec, of: PhantomData }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn codec(&self) -> &C {
        &self.codec
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
