//! Transactions: leases acknowledged, messages published and state written in one step, all or nothing.

mod session;

pub(crate) use session::Session;

use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use quorate_proto::v1::require::Condition;
use serde::Serialize;
use tracing::Instrument as _;

use crate::client::Client;
use crate::codec::Codec;
use crate::consumer::Delivery;
use crate::error::Error;
use crate::message::{Encoder, Message};
use crate::producer::Receipt;
use crate::queue::Queue;
use crate::state::StateEntry;

/// Collects what is to happen together; [`Transaction::commit`] has it happen, whole or not at all.
///
/// Everything is of the client's namespace. Requirements are looked at first; then leases are acknowledged, messages published and keys
/// written. If a requirement does not hold, or a lease is not current any more, nothing happens, and the error says
/// which one and what is the case instead ([`crate::Refusal::unmet`]).
///
/// ```no_run
/// # use quorate_client::{Client, Delivery, Error};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Order { id: u64 }
/// # async fn example(client: Client, delivery: Delivery<Order>) -> Result<(), Error> {
/// let charges = client.queue::<Order>("charges");
/// let key = format!("order/{}", delivery.value.id);
/// client
///     .transaction()
///     .require_absent(&key)
///     .ack(&delivery)
///     .publish(&charges, Order { id: delivery.value.id })
///     .put_json(&key, &"reserved")
///     .commit()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before `commit`"]
pub struct Transaction {
    client: Client,
    parts: v1::TransactRequest,
    /// The first value that could not be encoded.
    spoilt: Option<Error>,
}

/// A transaction has happened; a majority has it on disk.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let committed = client.transaction().put("a", "1").put("b", "2").commit().await?;
/// println!("versions {:?}", committed.versions);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where its messages went: to the queues in the order in which they were named, messages for one queue that were named one after the
    /// other together; and what was routed to each queue that it got into, in the order of their names.
    pub published: Vec<Placed>,
    /// For each key that was written or deleted, in order: the version that it has now.
    pub versions: Vec<u64>,
}

/// Messages of a transaction in a queue.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Message};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let event = Message::new("paid").subject("orders.eu.paid");
/// for placed in client.transaction().route(event).commit().await?.published {
///     println!("{} got it at {:?}", placed.queue, placed.receipts);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The queue's name.
    pub queue: String,
    /// For each message, in order.
    pub receipts: Vec<Receipt>,
}

impl Committed {
    /// The receipts of all messages, in order.
    pub fn receipts(&self) -> impl Iterator<Item = Receipt> + '_ {
        self.published.iter().flat_map(|placed| placed.receipts.iter().copied())
    }
}

impl Transaction {
    pub(crate) fn new(client: Client) -> Self {
        let namespace = client.namespace.to_string();
        let parts = v1::TransactRequest { namespace, ..v1::TransactRequest::default() };
        Self { client, parts, spoilt: None }
    }

    /// Acknowledges a message. The delivery stays with the caller: if the transaction is refused, it can still be retried.
    pub fn ack<T>(self, delivery: &Delivery<T>) -> Self {
        let place = delivery.place();
        delivery.excuse();
        self.ack_lease(&place.queue, &place.subscription, delivery.position, delivery.token)
    }

    /// Whether it acknowledges this message.
    pub(crate) fn acks<T>(&self, delivery: &Delivery<T>) -> bool {
        let place = delivery.place();
        self.parts.settle.iter().any(|lease| {
            let token = lease.range.as_ref().map(|range| range.first_token);
            lease.queue == place.queue
                && lease.subscription == place.subscription
                && token == Some(delivery.token)
        })
    }

    /// Acknowledges a message by what names its lease, for those who have no [`Delivery`]. An empty subscription means `default`.
    pub fn ack_lease(mut self, queue: &str, subscription: &str, position: u64, token: u64) -> Self {
        let (queue, subscription) = (queue.to_owned(), subscription.to_owned());
        let range = v1::SettleRange {
            first_position: position,
            count: 1,
            first_token: token,
            outcome: v1::Outcome::Ack.into(),
            ..v1::SettleRange::default()
        };
        self.parts.settle.push(v1::SettleLease { queue, subscription, range: Some(range) });
        self
    }

    /// Publishes a message to a queue, with everything that a message may have: a key, a delay, an id.
    pub fn publish<T, C: Codec<T>>(self, queue: &Queue<T, C>, message: impl Into<Message<T>>) -> Self {
        let message = message.into();
        let body = queue.codec().encode(&message.value).map_err(Error::Encode);
        let content_type = queue.codec().content_type();
        self.push(queue.name(), body, content_type, message.meta)
    }

    /// Publishes a message to its subject, in JSON: it gets into every queue with a route that matches, and there must be one.
    pub fn route<T: Serialize>(self, message: Message<T>) -> Self {
        let body = serde_json::to_vec(&message.value).map(Bytes::from);
        let body = body.map_err(|error| Error::Encode(error.to_string()));
        self.push("", body, "application/json", message.meta)
    }

    /// [`Transaction::route`], with the body as it is.
    pub fn route_raw(self, message: Message<Bytes>) -> Self {
        self.push("", Ok(message.value), "", message.meta)
    }

    fn push(
        mut self,
        queue: &str,
        body: Result<Bytes, Error>,
        content_type: &str,
        mut meta: crate::Meta,
    ) -> Self {
        if let Some(context) = self.client.tracer.current() {
            context.put_into(&mut meta);
        }
        match body {
            Ok(body) => {
                let encoded = Encoder::new(content_type).encode(meta, body);
                let last = self.parts.publish.last_mut().filter(|last| last.queue == queue);
                match last {
                    Some(last) => last.messages.push(encoded),
                    None => {
                        let (queue, messages) = (queue.to_owned(), vec![encoded]);
                        self.parts.publish.push(v1::PublishTo { queue, messages });
                    }
                }
            }
            Err(error) => self.spoilt = self.spoilt.or(Some(error)),
        }
        self
    }

    /// Writes a key of the namespace's state: 1 to 200 bytes, the value at most 64 KiB.
    pub fn put(self, key: &str, value: impl Into<Bytes>) -> Self {
        self.put_for(key, value, None)
    }

    /// Writes a key that is absent again after `ttl`, in whole milliseconds, at most 10 years.
    pub fn put_for(mut self, key: &str, value: impl Into<Bytes>, ttl: Option<Duration>) -> Self {
        let ttl_ms = ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        self.parts.put.push(v1::Put { key: key.to_owned(), value: value.into(), delete: false, ttl_ms });
        self
    }

    /// Writes a key of the namespace's state in JSON.
    pub fn put_json(self, key: &str, value: &impl Serialize) -> Self {
        self.put_json_for(key, value, None)
    }

    /// [`Transaction::put_for`], in JSON.
    pub fn put_json_for(mut self, key: &str, value: &impl Serialize, ttl: Option<Duration>) -> Self {
        match serde_json::to_vec(value) {
            Ok(value) => self.put_for(key, value, ttl),
            Err(error) => {
                self.spoilt = self.spoilt.or_else(|| Some(Error::Encode(error.to_string())));
                self
            }
        }
    }

    /// Deletes a key of the namespace's state.
    pub fn delete(mut self, key: &str) -> Self {
        self.parts.put.push(v1::Put { key: key.to_owned(), delete: true, ..v1::Put::default() });
        self
    }

    /// Only if the key has this version: the one that was read with the value that a decision was made upon. 0: the key is absent.
    pub fn require_version(self, key: &str, version: u64) -> Self {
        self.require(Condition::Version(v1::RequireVersion { key: key.to_owned(), version }))
    }

    /// Only if the key is as it was seen: what [`crate::State::get`] returned, from which a decision was made.
    pub fn require_unchanged(self, key: &str, seen: Option<&StateEntry>) -> Self {
        self.require_version(key, seen.map_or(0, |seen| seen.version))
    }

    /// Only if the key is absent.
    pub fn require_absent(self, key: &str) -> Self {
        self.require_version(key, 0)
    }

    /// Only if the last message that was published to the queue has this position; 0: none ever was.
    pub fn require_tail(self, queue: &str, position: u64) -> Self {
        self.require(Condition::Tail(v1::RequireTail { queue: queue.to_owned(), position }))
    }

    /// Only if the subscription (empty means `default`) has fewer messages that are not done.
    pub fn require_length_below(self, queue: &str, subscription: &str, length: u64) -> Self {
        let (queue, subscription) = (queue.to_owned(), subscription.to_owned());
        self.require(Condition::LengthBelow(v1::RequireLengthBelow { queue, subscription, length }))
    }

    /// Only if the delivery's lease is current. It is not settled: for a step of longer work.
    pub fn require_held<T>(self, delivery: &Delivery<T>) -> Self {
        let place = delivery.place();
        self.require(Condition::Held(v1::RequireHeld {
            queue: place.queue.clone(),
            subscription: place.subscription.clone(),
            first_position: delivery.position,
            count: 1,
            first_token: delivery.token,
        }))
    }

    fn require(mut self, condition: Condition) -> Self {
        self.parts.require.push(v1::Require { condition: Some(condition) });
        self
    }

    /// Has it happen. Attempts whose answer is lost are repeated under a session of the client: nothing happens twice.
    ///
    /// # Errors
    /// Reasons `PRECONDITION_FAILED`, `UNROUTABLE`, `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`, `QUEUE_FULL`, `LIMIT_REACHED`, `INVALID`, `NO_SPACE`: nothing
    /// happened. [`Error::Encode`]; [`Error::NoLeader`]; [`Error::Unknown`]: it happened whole, or not at all.
    pub async fn commit(self) -> Result<Committed, Error> {
        if let Some(error) = self.spoilt {
            return Err(error);
        }
        let transacting = self.client.session.transact(&self.client, self.parts);
        let done = transacting.instrument(tracing::debug_span!("transact")).await?;
        let published = done.published.into_iter().map(|placed| {
            let receipts = placed.positions.iter().flat_map(receipts).collect();
            Placed { queue: placed.queue, receipts }
        });
        Ok(Committed { published: published.collect(), versions: done.versions })
    }
}

fn receipts(run: &v1::PositionRun) -> impl Iterator<Item = Receipt> + use<> {
    let duplicate = run.duplicate;
    (run.first_position..).take(run.count as usize).map(move |position| Receipt { position, duplicate })
}
