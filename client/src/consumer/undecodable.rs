//! A message whose body is not what the consumer's type needs.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Delivery;
use crate::error::Error;

/// A leased message whose body could not be decoded, with its lease: [`Undecodable::take`] it and settle it. Otherwise it stays leased until its lease
/// expires, and comes again.
///
/// ```no_run
/// # use quorate_client::{Consumer, Error, Json};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Order { id: u64 }
/// # async fn example(mut consumer: Consumer<Order, Json>) -> Result<(), Error> {
/// match consumer.next().await {
///     Some(Ok(delivery)) => delivery.ack().await?,
///     Some(Err(Error::Decode(broken))) => {
///         eprintln!("message {}: {}", broken.position(), broken.problem());
///         broken.park().await?;
///     }
///     Some(Err(error)) => return Err(error),
///     None => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Undecodable(Arc<Inner>);

struct Inner {
    position: u64,
    attempt: u32,
    problem: String,
    raw: Mutex<Option<Delivery<Bytes>>>,
}

impl Undecodable {
    pub(super) fn new(raw: Delivery<Bytes>, problem: String) -> Self {
        let (position, attempt) = (raw.position, raw.attempt);
        Self(Arc::new(Inner { position, attempt, problem, raw: Mutex::new(Some(raw)) }))
    }

    /// Position of the message.
    pub fn position(&self) -> u64 {
        self.0.position
    }

    /// 1 for the first delivery; grows by one for every failure.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// What is wrong with the body.
    pub fn problem(&self) -> &str {
        &self.0.problem
    }

    /// The message with its body as it is. `None` if it was taken before, from this value or a clone of it.
    pub fn take(&self) -> Option<Delivery<Bytes>> {
        self.0.raw.lock().take()
    }

    /// Takes it and sets it aside, with the problem as its reason.
    ///
    /// # Errors
    /// As [`Delivery::ack`]; [`Error::StaleLease`] if it was taken before.
    pub async fn park(&self) -> Result<(), Error> {
        let raw = self.take().ok_or(Error::StaleLease { position: self.0.position })?;
        raw.park(self.reason()).await
    }

    pub(crate) fn reason(&self) -> String {
        format!("cannot be decoded: {}", self.0.problem)
    }
}

impl std::fmt::Debug for Undecodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Inner { position, problem, .. } = &*self.0;
        f.debug_struct("Undecodable")
            .field("position", position)
            .field("problem", problem)
            .finish_non_exhaustive()
    }
}
