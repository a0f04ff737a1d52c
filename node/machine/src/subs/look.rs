//! Taking messages in: each is looked at once by each subscription, in order of position, and is then ready, delayed, or
//! none of its business.
//!
//! Mostly there is nothing to see: then nothing is written, and the messages lie in the subscription's tail, which
//! stretches from its cursor to the queue's end. Where a message needs a row of its own, what lies before it in the tail gets one too.

use bytes::Bytes;
use prost::Message as _;

use super::filter::takes;
use super::lanes::{self, LaneId};
use super::leave::{Why, leave_all};
use super::retain;
use super::runs::{self, Run, State};
use crate::command::{Filter, Order};
use crate::message::{DELAYED, EXPIRES, KEYED, Message, PRIORITISED};
use crate::store::{Read, Store, StoreError};
use crate::tables::chunk::{self, Chunk};
use crate::tables::row::{self, Sub};
use crate::tables::{Key, QueueId, SubId, key};
use crate::tx::Tx;
use crate::work::Kind;

/// What becomes of a message.
enum Fate {
    Ready(u8),
    Delayed(u64, u8),
    Expired,
    NotTaken,
}

/// The subscriptions of a queue look at a chunk that was just published.
pub(crate) fn look_at_new<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    chunk: &Chunk,
    body: &Bytes,
) -> Result<(), StoreError> {
    for at in 0..tx.queue(queue)?.subs.len() {
        let id = SubId { queue, sub: tx.queue(queue)?.subs[at] };
        tx.touch(id);
        let sub = tx.sub(id)?;
        if sub.unseen_from != 0 {
            // It will come by; until then they are in no figure.
            sub.bytes_done += chunk.bytes(chunk.first, chunk.end());
        } else if is_seen(sub, chunk, true) {
            look_as_far_as_there_is_room(tx, id, chunk, body)?;
        }
    }
    Ok(())
}

/// A subscription looks at a new chunk. What the entry has no room for it looks at later, as one that is new does.
fn look_as_far_as_there_is_room<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    chunk: &Chunk,
    body: &Bytes,
) -> Result<(), StoreError> {
    let mut at = chunk.first;
    while at < chunk.end() {
        if tx.is_full() {
            let sub = tx.sub(id)?;
            sub.unseen_from = at;
            sub.bytes_done += chunk.bytes(at, chunk.end());
            tx.did(Kind::Unseen, id, at, chunk.end());
            return tx.rows.insert(&key::looking(id), Bytes::new());
        }
        let to = chunk.end().min(at + super::room(tx, id)?);
        look(tx, id, chunk, body, (at, to), &[])?;
        at = to;
    }
    Ok(())
}

/// Whether there is anything to see for a subscription. What is new has not expired yet.
fn is_seen(sub: &Sub, chunk: &Chunk, new: bool) -> bool {
    let of_order = match sub.settings.order() {
        Order::None | Order::Unspecified => PRIORITISED,
        Order::Key => KEYED,
        Order::Total => 0,
    };
    sub.filtered || chunk.has(DELAYED | of_order | if new { 0 } else { EXPIRES })
}

/// Looks at the messages `from..to` of a chunk, of which some are superseded. Nothing before them is unseen.
fn look<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    chunk: &Chunk,
    body: &Bytes,
    (from, to): (u64, u64),
    superseded: &[u64],
) -> Result<(), StoreError> {
    end_tail(tx, id, from)?;
    let sub = tx.sub(id)?;
    sub.cursor = to;
    let filter: Option<Filter> = if sub.filtered { row::get(&tx.rows, &key::filter(id))? } else { None };
    let order = tx.sub(id)?.settings.order();
    let now_ms = tx.now_ms;
    if filter.is_some() {
        tx.rows.work(to - from); // each is decoded
    }
    let fate = |position| -> Result<Fate, StoreError> {
        if let Some(filter) = &filter {
            let message = Message::decode(chunk.message(body, position)?);
            // What cannot be read was not admitted; it is nobody's to filter.
            if message.is_ok_and(|message| !takes(filter, &message)) {
                return Ok(Fate::NotTaken);
            }
        }
        if superseded.binary_search(&position).is_ok() {
            return Ok(Fate::NotTaken);
        }
        let priority = if order == Order::None { chunk.priority(position) } else { 0 };
        Ok(match (chunk.expires_ms(position), chunk.due_ms(position)) {
            (expires_ms, _) if (1..=now_ms).contains(&expires_ms) => Fate::Expired,
            (_, due_ms) if due_ms > now_ms => Fate::Delayed(due_ms, priority),
            _ => Fate::Ready(priority),
        })
    };
    // All get their rows before any leaves: a chunk without rows would be taken for one that nobody needs.
    let mut gone = Vec::new();
    let mut next: Option<Run> = None;
    for position in from..to {
        let run = match fate(position)? {
            Fate::Ready(priority) => Run { priority, ..Run::fresh(position, 1, State::Ready) },
            Fate::Delayed(at_ms, priority) => {
                Run { priority, ..Run::fresh(position, 1, State::Delayed { at_ms }) }
            }
            Fate::Expired => {
                gone.push((position, Why::Expired));
                continue;
            }
            Fate::NotTaken => {
                gone.push((position, Why::Done));
                continue;
            }
        };
        match &mut next {
            Some(last) if last.is_like(&run) && last.end() == position => last.count += 1,
            _ => take_in(tx, id, next.replace(run))?,
        }
    }
    take_in(tx, id, next)?;
    let gone: Vec<(Run, Why)> =
        gone.into_iter().map(|(position, why)| (Run::fresh(position, 1, State::Ready), why)).collect();
    leave_all(tx, id, &gone)
}

fn take_in<S: Store>(tx: &mut Tx<'_, S>, id: SubId, run: Option<Run>) -> Result<(), StoreError> {
    match run {
        Some(run) if run.state == State::Ready => make_ready(tx, id, run),
        Some(run) => runs::place(tx, id, run),
        None => Ok(()),
    }
}

/// What lies in the tail below `to` gets a row, and the tail begins there.
pub(crate) fn end_tail<S: Store>(tx: &mut Tx<'_, S>, id: SubId, to: u64) -> Result<(), StoreError> {
    let sub = tx.sub(id)?;
    let first = sub.cursor;
    if first >= to {
        return Ok(());
    }
    sub.cursor = to;
    runs::place(tx, id, Run::fresh(first, to - first, State::Ready))
}

/// Messages that are in no row and no counter become ready, each in its order.
pub(crate) fn make_ready<S: Store>(tx: &mut Tx<'_, S>, id: SubId, run: Run) -> Result<(), StoreError> {
    let run = Run { state: State::Ready, ..run };
    if !tx.sub(id)?.is_keyed() {
        return runs::place(tx, id, run);
    }
    for (position, lane) in lanes::of(&tx.rows, id.queue, run.first, run.end())? {
        let single = run.part(position, position + 1);
        match lane {
            0 => runs::place(tx, id, single)?,
            lane => lanes::join(tx, LaneId { sub: id, lane }, single)?,
        }
    }
    Ok(())
}

/// Subscriptions that are behind go on looking, as far as there is room; at least one does.
pub(crate) fn go_on<S: Store>(tx: &mut Tx<'_, S>) -> Result<(), StoreError> {
    let all = key::all_looking();
    let mut one_has = false;
    while !one_has || !tx.is_full() {
        let Some((row, _)) = tx.rows.first(&all, &all.end())? else { return Ok(()) };
        let id = key::Fields::of(&row).sub()?;
        if tx.find_sub(id)?.is_none() {
            tx.rows.delete(&Key::read(&row)?)?;
            continue;
        }
        let (from, to) = catch_up(tx, id)?;
        tx.did(Kind::Seen, id, from, to);
        one_has = true;
    }
    Ok(())
}

/// Looks at what a subscription has not seen, as far as there is room. Returns from where to where that was.
pub(crate) fn catch_up<S: Store>(tx: &mut Tx<'_, S>, id: SubId) -> Result<(u64, u64), StoreError> {
    tx.touch(id);
    let first = tx.sub(id)?.unseen_from;
    let mut from = first;
    while from == first || !tx.is_full() {
        let chunk = chunk::at_or_after(&tx.rows, id.queue, from)?;
        let Some(chunk) = chunk else {
            let tail = tx.queue(id.queue)?.next_position;
            skip(tx, id, from, tail)?;
            tx.sub(id)?.unseen_from = 0;
            tx.rows.delete(&key::looking(id))?;
            return Ok((first, tail));
        };
        skip(tx, id, from, chunk.first)?;
        from = look_at_part(tx, id, &chunk, from.max(chunk.first))?;
        if from == tx.queue(id.queue)?.next_position {
            tx.sub(id)?.unseen_from = 0;
            tx.rows.delete(&key::looking(id))?;
            break;
        }
    }
    Ok((first, from))
}

/// Looks at a chunk that is not new, from a position on, as far as there is room. Returns up to where.
fn look_at_part<S: Store>(
    tx: &mut Tx<'_, S>,
    id: SubId,
    chunk: &Chunk,
    from: u64,
) -> Result<u64, StoreError> {
    let seen = is_seen(tx.sub(id)?, chunk, false);
    let room = if seen || chunk.has_key_hashes() { super::room(tx, id)? } else { chunk.count() };
    let to = chunk.end().min(from + room);
    let superseded = retain::superseded(&tx.rows, id.queue, chunk, (from, to))?;
    let sub = tx.sub(id)?;
    sub.bytes_done = sub.bytes_done.saturating_sub(chunk.bytes(from, to));
    sub.unseen_from = to;
    if seen || !superseded.is_empty() {
        // Only a filter asks for what is in them.
        let filtered = tx.sub(id)?.filtered;
        let body = if filtered { chunk::body(&tx.rows, id.queue, chunk)? } else { Bytes::new() };
        look(tx, id, chunk, &body, (from, to), &superseded)?;
    }
    Ok(to)
}

/// Nothing is stored from `from` to `to`.
fn skip<S: Store>(tx: &mut Tx<'_, S>, id: SubId, from: u64, to: u64) -> Result<(), StoreError> {
    if from < to {
        end_tail(tx, id, from)?;
        tx.sub(id)?.cursor = to;
    }
    Ok(())
}
