//! What a handler is given.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::client::Client;
use crate::consumer::Delivery;
use crate::transaction::Transaction;

/// A delivery in the hands of a handler, which reads it; what it returns settles it. Cheap to clone.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Job};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let worker = client.queue::<u64>("orders").worker().start(|job: Job<u64>| async move {
///     println!("{} at {}, attempt {}", job.value, job.position, job.attempt);
/// });
/// worker.stop().await?;
/// # Ok(())
/// # }
/// ```
pub struct Job<T> {
    delivery: Arc<Delivery<T>>,
    client: Client,
}

impl<T> Job<T> {
    pub(super) fn new(delivery: Arc<Delivery<T>>, client: Client) -> Self {
        Self { delivery, client }
    }

    /// Begins to collect a transaction. Returned from the handler, it is committed with the acknowledgement of this message.
    pub fn transaction(&self) -> Transaction {
        self.client.transaction()
    }

    /// A transaction that answers this message: see [`Transaction::reply`]. To be returned from the handler.
    pub fn reply(&self, answer: &impl Serialize) -> Transaction {
        self.transaction().reply(&self.delivery, answer)
    }

    /// The client of the worker.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl<T> Deref for Job<T> {
    type Target = Delivery<T>;

    fn deref(&self) -> &Delivery<T> {
        &self.delivery
    }
}

impl<T> Clone for Job<T> {
    fn clone(&self) -> Self {
        Self { delivery: self.delivery.clone(), client: self.client.clone() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.delivery.fmt(f)
    }
}
