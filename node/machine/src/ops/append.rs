//! Appending messages to a queue: which of them it has already, whether the others fit, and how they get in.
//!
//! What was sent together is one chunk, unless messages that the queue has already by their ids lie in between: a chunk's bytes
//! are a slice of the entry.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use quorate_simpoint::{Bug, local_clock_ms, planted};

use super::Stop;
use crate::command::QueueSettings;
use crate::limits::PRIORITY_MAX;
use crate::message::{DELAYED, EXPIRES, IDENTIFIED, KEYED, Message, PRIORITISED, attributes};
use crate::reply::{PositionRun, Refusal};
use crate::store::{Store, StoreError};
use crate::subs::leave::{expiries, note_expiry};
use crate::subs::look::look_at_new;
use crate::subs::retain;
use crate::subs::room::{check_room, make_room};
use crate::tables::chunk::{Chunk, Columns, hash_of, id_of, lane_of};
use crate::tables::{QueueId, key};
use crate::tx::Tx;
use crate::{ids, tables::row};

/// Messages for a queue: their encoded lengths, their bytes back to back, and what there is in any of them.
#[derive(Clone, Copy)]
pub(super) struct Messages<'a> {
    pub(super) lengths: &'a [u32],
    pub(super) bytes: &'a Bytes,
    pub(super) attributes: u32,
}

impl Messages<'_> {
    /// Whether a queue takes what is special about them.
    pub(super) fn check_attributes<S: Store>(&self, tx: &mut Tx<'_, S>, queue: QueueId) -> Result<(), Stop> {
        if self.attributes & PRIORITISED != 0 && !tx.queue(queue)?.settings.priorities {
            let problem = "the queue does not have priorities: they are one of its settings";
            return Err(Refusal::Invalid { field: "priority", problem: problem.into() }.into());
        }
        let keys_only = tx.queue(queue)?.settings.retain.latest_per_key;
        if keys_only && self.each().any(|message| message.key.is_empty()) {
            let problem = "every message needs one: the queue retains the latest of each key";
            return Err(Refusal::Invalid { field: "key", problem: problem.into() }.into());
        }
        Ok(())
    }

    /// Some of the messages, by their numbers in ascending order: lengths, bytes and attributes. They are copied: a chunk is one stretch of bytes. `offsets`: see
    /// [`Messages::offsets`].
    pub(super) fn some(&self, numbers: &[usize], offsets: &[usize]) -> (Vec<u32>, Bytes, u32) {
        let (mut lengths, mut bytes, mut found) = (Vec::new(), BytesMut::new(), 0);
        for at in numbers.iter().copied() {
            let end = offsets[at] + self.lengths[at] as usize;
            let one = self.bytes.slice(offsets[at]..end);
            lengths.push(self.lengths[at]);
            bytes.extend_from_slice(&one);
            found |= attributes(&Message::decode(one).unwrap_or_default());
        }
        (lengths, bytes.freeze(), found)
    }

    /// Where each message begins.
    pub(super) fn offsets(&self) -> Vec<usize> {
        let next = |at: &mut usize, length: &u32| {
            let begin = *at;
            *at += *length as usize;
            Some(begin)
        };
        self.lengths.iter().scan(0, next).collect()
    }

    /// Each message as it was handed in. What cannot be read was not admitted; it has nothing.
    pub(super) fn each(&self) -> impl Iterator<Item = Message> {
        let mut at = 0;
        self.lengths.iter().map(move |length| {
            let end = at + *length as usize;
            let message = Message::decode(self.bytes.slice(at..end)).unwrap_or_default();
            at = end;
            message
        })
    }
}

/// Messages that may enter a queue.
pub(super) struct Plan<'a> {
    queue: QueueId,
    messages: Messages<'a>,
    /// For each message the position at which the queue has it already; empty if none has an id.
    known: Vec<Option<u64>>,
}

/// Looks at messages that are to enter a queue: those whose id it has already will not, the others need room.
pub(super) fn plan<'a, S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    messages: Messages<'a>,
) -> Result<Plan<'a>, Stop> {
    let mut known = Vec::new();
    if messages.attributes & IDENTIFIED != 0 {
        let ids: Vec<u128> = messages.each().map(|message| id_of(&message.id)).collect();
        known = ids::resolve(tx, queue, &ids)?;
    }
    if known.iter().any(Option::is_some) {
        let fresh = messages.lengths.iter().zip(&known).filter(|(_, known)| known.is_none());
        let fresh: Vec<u32> = fresh.map(|(length, _)| *length).collect();
        check_room(tx, queue, &fresh)?;
    } else {
        check_room(tx, queue, messages.lengths)?;
    }
    Ok(Plan { queue, messages, known })
}

impl Plan<'_> {
    /// The messages enter the queue. Returns where all of them are.
    pub(super) fn carry_out<S: Store>(self, tx: &mut Tx<'_, S>) -> Result<Vec<PositionRun>, StoreError> {
        let Self { queue, messages, known } = self;
        let Messages { lengths, bytes, attributes } = messages;
        let (mut positions, mut superseded, mut at, mut offset) = (Vec::new(), Vec::new(), 0, 0);
        while at < lengths.len() {
            if let Some(position) = known.get(at).copied().flatten() {
                push(&mut positions, position, 1, true);
                offset += lengths[at] as usize;
                at += 1;
                continue;
            }
            let new = known.iter().skip(at).take_while(|known| known.is_none()).count();
            let end = if known.is_empty() { lengths.len() } else { at + new };
            let size: usize = lengths[at..end].iter().map(|length| *length as usize).sum();
            let slice = bytes.slice(offset..offset + size);
            let part = Messages { lengths: &lengths[at..end], bytes: &slice, attributes };
            let (first, older) = write(tx, queue, part)?;
            superseded.extend(older);
            push(&mut positions, first, (end - at) as u64, false);
            (at, offset) = (end, offset + size);
        }
        if positions.iter().any(|run| !run.duplicate) {
            let new = known.iter().filter(|known| known.is_none()).count();
            let count = if known.is_empty() { lengths.len() } else { new };
            make_room(tx, queue, (count as u64, bytes.len() as u64))?;
            superseded.sort_unstable();
            retain::after_publish(tx, queue, &superseded)?;
        }
        Ok(positions)
    }
}

/// Adds messages to the positions of a batch, which is at most [`crate::limits::PUBLISH_MESSAGES_MAX`] long.
pub(super) fn push(positions: &mut Vec<PositionRun>, first_position: u64, count: u64, duplicate: bool) {
    let count = count as u32;
    match positions.last_mut() {
        Some(last)
            if last.first_position + u64::from(last.count) == first_position
                && last.duplicate == duplicate =>
        {
            last.count += count;
        }
        _ => positions.push(PositionRun { first_position, count, duplicate }),
    }
}

/// Writes a chunk at the queue's end. Returns its first position, and the messages that are not the latest of their keys any more.
pub(super) fn write<S: Store>(
    tx: &mut Tx<'_, S>,
    id: QueueId,
    messages: Messages<'_>,
) -> Result<(u64, Vec<u64>), StoreError> {
    let published_at_ms = if planted(Bug::NondeterministicApply) { local_clock_ms() } else { tx.now_ms };
    let Messages { lengths, bytes, .. } = messages;
    let queue = tx.queue(id)?;
    let columns = columns(messages, published_at_ms, &queue.settings);
    let row = Chunk::encode(published_at_ms, queue.bytes_published, lengths, bytes, &columns);
    let first_position = queue.next_position;
    queue.next_position += lengths.len() as u64;
    queue.bytes_published += bytes.len() as u64;
    let key = key::chunk(id, first_position);
    let chunk = Chunk::decode(&key, row.clone())?;
    tx.rows.insert(&key, row)?;
    tx.rows.insert(&key::body(id, first_position), bytes.clone())?;
    for (position, message_id) in (first_position..).zip(&columns.ids) {
        if *message_id != 0 {
            tx.rows.put(&key::message_id(id, *message_id), row::of_u64(position))?;
        }
    }
    for (time_ms, first, count) in expiries(&chunk) {
        note_expiry(tx, id, time_ms, first, count)?;
    }
    let superseded = retain::note_latest(tx, id, &chunk)?;
    look_at_new(tx, id, &chunk, bytes)?;
    Ok((first_position, superseded))
}

/// What the queue has to know of the messages, if there is anything to know.
fn columns(messages: Messages<'_>, now_ms: u64, settings: &QueueSettings) -> Columns {
    let mut columns = Columns::default();
    let (ttl_ms, hashed) = (settings.ttl_ms, settings.retain.latest_per_key);
    let attributes = messages.attributes | if hashed { KEYED } else { 0 };
    if attributes & (KEYED | DELAYED | EXPIRES | PRIORITISED | IDENTIFIED) == 0 {
        if ttl_ms != 0 {
            columns.all_expire_ms = now_ms.saturating_add(ttl_ms);
        }
        return columns;
    }
    let expire = attributes & EXPIRES != 0 || ttl_ms != 0;
    for message in messages.each() {
        let due_ms = now_ms.max(match message.delay_ms {
            0 => message.deliver_at_ms,
            delay_ms => now_ms.saturating_add(delay_ms),
        });
        let ttl_ms = if message.ttl_ms == 0 { ttl_ms } else { message.ttl_ms };
        if attributes & KEYED != 0 {
            columns.lanes.push(lane_of(&message.key));
        }
        if hashed {
            columns.key_hashes.push(hash_of(&message.key));
        }
        if attributes & DELAYED != 0 {
            columns.due_ms.push(due_ms);
        }
        if expire {
            columns.expires_ms.push(if ttl_ms == 0 { 0 } else { due_ms.saturating_add(ttl_ms) });
        }
        if attributes & PRIORITISED != 0 {
            // Above 9 it was not admitted.
            columns.priorities.push(message.priority.min(PRIORITY_MAX) as u8);
        }
        if attributes & IDENTIFIED != 0 {
            columns.ids.push(id_of(&message.id));
        }
    }
    columns
}
