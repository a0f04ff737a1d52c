//! Why a subscription hands out nothing, or no more.

use bytes::Bytes;
use prost::Message as _;

use super::{ReadError, find, stat};
use crate::message::Message;
use crate::read::Stat;
use crate::store::{Read, StoreError};
use crate::subs::leave::chunk_of;
use crate::subs::runs::{self, State};
use crate::tables::row::{self, Consumer, Lane, Sub};
use crate::tables::{QueueId, SubId, Table, chunk, key};

/// Keys that are looked at.
const KEYS_MAX: usize = 100;

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The subscription is paused.
    Paused,
    /// Nobody is attached.
    NoConsumer,
    /// Everybody who could be served holds as much as its credit allows.
    NoCredit {
        /// How many consumers are attached.
        consumers: u32,
    },
    /// There is no message that is not done.
    Empty,
    /// Messages that nobody has looked at yet: the subscription is new, or was moved.
    Looking {
        /// How many positions.
        positions: u64,
    },
    /// Messages are not due yet.
    Delayed {
        /// How many.
        messages: u64,
    },
    /// A message waits for its backoff; what follows it in its order waits with it.
    Retrying {
        /// Its position.
        position: u64,
        /// Its key, if the order is by key.
        key: Bytes,
        /// When it is ready again, by replicated time.
        until_ms: u64,
        /// How many messages wait behind it.
        behind: u64,
    },
    /// A parked message blocks what follows it in its order.
    Blocked {
        /// Its position.
        position: u64,
        /// Its key, if the order is by key.
        key: Bytes,
        /// How many messages wait behind it.
        behind: u64,
    },
    /// A key is parked.
    KeyParked {
        /// The key.
        key: Bytes,
        /// How many messages are parked with it.
        messages: u64,
    },
    /// A key, or in order `total` the queue, waits for a consumer that holds earlier messages of it.
    Held {
        /// The key; empty in order `total`.
        key: Bytes,
        /// The lowest message that is held.
        position: u64,
        /// The consumer's name for people.
        consumer: String,
        /// When its lease ends, by replicated time.
        until_ms: u64,
        /// How many messages wait behind it.
        behind: u64,
    },
}

/// The obstacles of a subscription, the gravest first, with its figures; at most a hundred keys are looked at. Nothing if messages are being
/// handed out as they come. Refused if there is no such subscription.
pub fn explain(
    store: &impl Read,
    namespace: &str,
    queue: &str,
    sub: &str,
) -> Result<(Vec<Obstacle>, Stat), ReadError> {
    let stat = stat(store, namespace, queue, sub)?;
    let (id, _, sub) = find(store, namespace, queue, sub)?;
    let mut found = Vec::new();
    if sub.paused {
        found.push(Obstacle::Paused);
    }
    match (stat.consumers, sub.waiting) {
        (0, _) => found.push(Obstacle::NoConsumer),
        (consumers, 0) => found.push(Obstacle::NoCredit { consumers }),
        _ => {}
    }
    if stat.length == 0 && stat.unseen == 0 {
        found.push(Obstacle::Empty);
    }
    if stat.unseen > 0 {
        found.push(Obstacle::Looking { positions: stat.unseen });
    }
    if stat.delayed > 0 {
        found.push(Obstacle::Delayed { messages: stat.delayed });
    }
    if sub.is_total() {
        found.extend(total(store, id, &sub, &stat)?);
    } else if sub.is_keyed() {
        keys(store, id, &mut found)?;
    }
    Ok((found, stat))
}

/// What stands first among what is in order and not leased, if it cannot be leased.
fn total(store: &impl Read, id: SubId, sub: &Sub, stat: &Stat) -> Result<Option<Obstacle>, StoreError> {
    let Some(run) = runs::first_ready(store, id, 0)? else { return Ok(None) };
    let (position, key) = (run.first, Bytes::new());
    Ok(match run.state {
        State::Retrying { at_ms } => {
            let behind = stat.ready + sub.retrying - 1;
            Some(Obstacle::Retrying { position, key, until_ms: at_ms, behind })
        }
        State::Blocked => Some(Obstacle::Blocked { position, key, behind: stat.ready + sub.retrying }),
        _ => None,
    })
}

fn keys(store: &impl Read, id: SubId, found: &mut Vec<Obstacle>) -> Result<(), StoreError> {
    let lanes = key::of_sub(Table::Lane, id);
    let (mut from, mut looked_at) = (lanes.clone(), 0);
    while looked_at < KEYS_MAX {
        let Some((row_key, value)) = store.first(&from, &lanes.end())? else { return Ok(()) };
        looked_at += 1;
        let lane: Lane = row::decode(&row_key, value)?;
        found.extend(lane_obstacle(store, id, key::last_u64(&row_key)?, &lane)?);
        from = key::Key::read(&row_key)?.next();
    }
    Ok(())
}

fn lane_obstacle(
    store: &impl Read,
    id: SubId,
    hash: u64,
    lane: &Lane,
) -> Result<Option<Obstacle>, StoreError> {
    let queued = key::queued_in(id, hash);
    let low = store.first(&queued, &queued.end())?;
    let low = low.map(|(row, _)| key::last_u64(&row)).transpose()?;
    if lane.parked {
        let key = low.map_or(Ok(Bytes::new()), |low| key_at(store, id.queue, low))?;
        return Ok(Some(Obstacle::KeyParked { key, messages: lane.waiting }));
    }
    if let Some(position) = lane.leased.first().copied() {
        if lane.waiting == 0 {
            return Ok(None);
        }
        let run = runs::at(store, id, position)?;
        let until_ms = match run.map(|run| run.state) {
            Some(State::Leased { deadline_ms, .. }) => deadline_ms,
            _ => 0,
        };
        let consumer: Option<Consumer> = row::get(store, &key::consumer(lane.holder))?;
        let consumer = consumer.map(|row| row.label).unwrap_or_default();
        let key = key_at(store, id.queue, position)?;
        return Ok(Some(Obstacle::Held { key, position, consumer, until_ms, behind: lane.waiting }));
    }
    let Some(position) = low.filter(|low| lane.offered == 0 || *low < lane.offered) else { return Ok(None) };
    let key = key_at(store, id.queue, position)?;
    Ok(match runs::at(store, id, position)?.map(|run| run.state) {
        Some(State::Retrying { at_ms }) => {
            Some(Obstacle::Retrying { position, key, until_ms: at_ms, behind: lane.queued - 1 })
        }
        Some(State::Blocked) => Some(Obstacle::Blocked { position, key, behind: lane.queued - 1 }),
        _ => None,
    })
}

fn key_at(store: &impl Read, queue: QueueId, position: u64) -> Result<Bytes, StoreError> {
    let chunk = chunk_of(store, queue, position)?;
    let body = chunk::body(store, queue, &chunk)?;
    Ok(Message::decode(chunk.message(&body, position)?).map(|message| message.key).unwrap_or_default())
}
