//! Chunks and bodies: whole, in order, there as long as they are needed, and no longer.

use std::collections::BTreeMap;

use twox_hash::XxHash3_128;

use super::{View, ensure, failed, retain, scan};
use crate::store::Read;
use crate::subs::leave::expiries;
use crate::subs::runs;
use crate::tables::chunk::{self, Chunk};
use crate::tables::row::{self, Queue};
use crate::tables::{QueueId, SubId, Table, key};

/// What an id points to is stored, has that id, and is the last that does. Only an id whose last message is gone points to nothing.
fn ids(store: &impl Read, id: QueueId) -> Result<(), String> {
    let mut last = BTreeMap::new();
    for (key, value) in scan(store, &key::of_queue(Table::Chunk, id))? {
        let chunk = Chunk::decode(&key, value).map_err(failed)?;
        last.extend(chunk.ids().map(|(position, message)| (key::message_id(id, message).to_vec(), position)));
    }
    for (key, value) in scan(store, &key::of_queue(Table::MessageId, id))? {
        let is_last = last.get(&key[..]).is_some_and(|position| value == row::of_u64(*position));
        ensure(is_last, || format!("{id:?}: an id does not point to the last message that has it"))?;
    }
    Ok(())
}

pub(super) fn check(store: &impl Read, view: &mut View, id: QueueId, queue: &Queue) -> Result<(), String> {
    let mut end = 1;
    let rows = scan(store, &key::of_queue(Table::Chunk, id))?;
    let bodies = scan(store, &key::of_queue(Table::Body, id))?.len();
    ensure(bodies == rows.len(), || format!("{id:?} has {} chunks and {bodies} bodies", rows.len()))?;
    for (key, value) in rows {
        let chunk = Chunk::decode(&key, value).map_err(failed)?;
        ensure(chunk.first >= end, || format!("{id:?}: the chunk at {} overlaps", chunk.first))?;
        end = chunk.end();
        let body = chunk::body(store, id, &chunk).map_err(failed)?;
        ensure(XxHash3_128::oneshot(&body) == chunk.content_hash(), || {
            format!("{id:?}: the body at {} is not the one that was published", chunk.first)
        })?;
        ensure(chunk.offset(end) == body.len(), || format!("{id:?}: lengths at {} are off", chunk.first))?;
        let now_ms = crate::read::now_ms(store).map_err(failed)?;
        for (time_ms, first, _) in expiries(&chunk).into_iter().filter(|(time_ms, ..)| *time_ms > now_ms) {
            view.expected.insert(key::deadline_expiry(time_ms, id, first).to_vec());
        }
        let kept = retained(store, queue, id, &chunk)?;
        let swept = |key: &key::Key| store.get(key).map(|row| row.is_some()).map_err(failed);
        let mut needed =
            kept || swept(&key::garbage_chunks(id))? || swept(&key::garbage_chunk(id, chunk.first))?;
        for sub in &queue.subs {
            let sub = SubId { queue: id, sub: *sub };
            let run = runs::before(store, sub, end).map_err(failed)?;
            needed |= view.subs[&sub].cursor < end || run.is_some_and(|run| run.end() > chunk.first);
        }
        ensure(needed, || format!("{id:?}: nobody needs the chunk at {}", chunk.first))?;
        let swept = store.get(&key::garbage_retain(id)).map_err(failed)?.is_some();
        ensure(kept || queue.settings.retain.until_done || swept, || {
            format!("{id:?}: the chunk at {} is beyond the bounds", chunk.first)
        })?;
    }
    ids(store, id)?;
    retain::check(store, view, id, queue)?;
    ensure(end <= queue.next_position, || format!("{id:?} has a chunk beyond its end"))
}

/// Whether the bounds of what the queue retains keep a chunk.
fn retained(store: &impl Read, queue: &Queue, id: QueueId, chunk: &Chunk) -> Result<bool, String> {
    let bounds = queue.settings.retain;
    let latest = store.get(&key::latest_in(id, chunk.first)).map_err(failed)?.is_some();
    let in_front = !bounds.has_front() || chunk.first >= queue.kept_from;
    Ok(bounds.has_bounds() && in_front && (latest || !bounds.latest_per_key))
}
