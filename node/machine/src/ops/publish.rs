//! Appending messages to a queue, once however often they are sent (P5).
//!
//! A session's batches continue each other without gaps. What is sent again is answered from its receipts, which
//! are kept until the producer says that it has them. A batch that is known in part is appended from there on.

use bytes::Bytes;
use prost::Message as _;
use quorate_simpoint::{Bug, local_clock_ms, planted};

use super::close_producer::current;
use super::{Done, Stop};
use crate::command::{Publish, QueueSettings};
use crate::limits::{PRIORITY_MAX, PRODUCER_UNACKED_MAX, PUBLISH_BYTES_MAX, PUBLISH_MESSAGES_MAX};
use crate::message::{DELAYED, EXPIRES, KEYED, Message, PRIORITISED};
use crate::names;
use crate::reply::{PositionRun, Refusal, Reply};
use crate::store::{Read, Store, StoreError};
use crate::subs::leave::{expiries, note_expiry};
use crate::subs::look::look_at_new;
use crate::subs::retain;
use crate::subs::room::{check_room, make_room};
use crate::tables::chunk::{Chunk, Columns, hash_of, lane_of};
use crate::tables::row::{self, ProducerRun};
use crate::tables::{Key, QueueId, key};
use crate::tx::Tx;

pub(crate) fn publish<S: Store>(tx: &mut Tx<'_, S>, command: Publish) -> Done {
    check(&command)?;
    let id = names::queue(&tx.rows, &command.namespace, &command.queue)?;
    if command.attributes & PRIORITISED != 0 && !tx.queue(id)?.settings.priorities {
        let problem = "the queue does not have priorities: they are one of its settings".into();
        return Err(Refusal::Invalid { field: "priority", problem }.into());
    }
    if tx.queue(id)?.settings.retain.latest_per_key && !all_have_keys(&command) {
        let problem = "every message needs one: the queue retains the latest of each key".into();
        return Err(Refusal::Invalid { field: "key", problem }.into());
    }
    if command.producer == 0 && command.epoch == 0 && command.first_seq == 0 {
        check_room(tx, id, &command.lengths)?;
        let first_position = append(tx, id, &command.lengths, command.messages, command.attributes)?;
        let count = command.lengths.len() as u32;
        return Ok(Reply::Published {
            positions: vec![PositionRun { first_position, count }],
            duplicates: 0,
        });
    }
    let known = check_session(tx, &command)?;
    let mut positions = receipts(tx, id, &command, known)?;
    let skipped: usize = command.lengths[..known as usize].iter().map(|length| *length as usize).sum();
    check_room(tx, id, &command.lengths[known as usize..])?;
    if planted(Bug::DedupIgnored) && known > 0 {
        append(
            tx,
            id,
            &command.lengths[..known as usize],
            command.messages.slice(..skipped),
            command.attributes,
        )?;
    }

    let (count, now_ms) = (command.lengths.len() as u64, tx.now_ms);
    let row = current(tx, command.producer, command.epoch)?;
    row.used_at_ms = now_ms;
    row.acked_seq = row.acked_seq.max(command.acked_seq);
    row.last_seq = row.last_seq.max(command.first_seq + count - 1);
    let acked_seq = row.acked_seq;
    if known < count {
        let fresh = &command.lengths[known as usize..];
        let first_position = append(tx, id, fresh, command.messages.slice(skipped..), command.attributes)?;
        let run = ProducerRun { queue: id.queue, first_position, count: count - known };
        keep_receipts(tx, command.producer, command.first_seq + known, run)?;
        push(&mut positions, first_position, count - known);
    }
    drop_receipts(tx, command.producer, acked_seq)?;
    Ok(Reply::Published { positions, duplicates: known as u32 })
}

fn check(command: &Publish) -> Result<(), Refusal> {
    if !(1..=PUBLISH_MESSAGES_MAX).contains(&command.lengths.len()) {
        let problem = format!("a batch holds 1 to {PUBLISH_MESSAGES_MAX} messages");
        return Err(Refusal::Invalid { field: "messages", problem });
    }
    if command.messages.len() > PUBLISH_BYTES_MAX {
        let problem = format!("a batch is at most {PUBLISH_BYTES_MAX} bytes long");
        return Err(Refusal::Invalid { field: "messages", problem });
    }
    let sum: u64 = command.lengths.iter().map(|length| u64::from(*length)).sum();
    if sum != command.messages.len() as u64 {
        let problem = format!("they add up to {sum}, not {}", command.messages.len());
        return Err(Refusal::Invalid { field: "lengths", problem });
    }
    Ok(())
}

fn all_have_keys(command: &Publish) -> bool {
    each(&command.lengths, &command.messages).all(|message| !message.key.is_empty())
}

/// The messages of a publish. What cannot be read was not admitted; it has nothing.
fn each<'a>(lengths: &'a [u32], messages: &'a Bytes) -> impl Iterator<Item = Message> + 'a {
    let mut at = 0;
    lengths.iter().map(move |length| {
        let from = at;
        at += *length as usize;
        Message::decode(messages.slice(from..at)).unwrap_or_default()
    })
}

/// Checks the session and the sequence. Returns how many of the messages it published before.
fn check_session<S: Store>(tx: &mut Tx<'_, S>, command: &Publish) -> Result<u64, Stop> {
    let row = current(tx, command.producer, command.epoch)?;
    let (first, count) = (command.first_seq, command.lengths.len() as u64);
    if first == 0 {
        return Err(Refusal::Invalid { field: "first_seq", problem: "must be at least 1".into() }.into());
    }
    if command.acked_seq > row.last_seq {
        let problem = format!("{} was not published yet: the last is {}", command.acked_seq, row.last_seq);
        return Err(Refusal::Invalid { field: "acked_seq", problem }.into());
    }
    let acked = row.acked_seq.max(command.acked_seq);
    if first <= acked {
        return Err(Refusal::ReceiptForgotten { given: first, acked }.into());
    }
    if first - 1 > row.last_seq {
        return Err(Refusal::SequenceGap { given: first, last: row.last_seq }.into());
    }
    let known = count.min(row.last_seq - (first - 1));
    // `first` is at most one above the last, so these sums stay far below the type's end.
    if known < count && first + count - 1 - acked > PRODUCER_UNACKED_MAX {
        return Err(
            Refusal::LimitReached { what: "unacknowledged receipts", limit: PRODUCER_UNACKED_MAX }.into()
        );
    }
    Ok(known)
}

/// The positions of the first `known` messages of the batch, from the session's receipts.
fn receipts<S: Store>(
    tx: &Tx<'_, S>,
    id: QueueId,
    command: &Publish,
    known: u64,
) -> Result<Vec<PositionRun>, Stop> {
    let mut positions = Vec::new();
    let (mut seq, end) = (command.first_seq, command.first_seq + known);
    while seq < end {
        let from = key::producer_runs(command.producer);
        let found = tx.rows.last(&from, &key::producer_run(command.producer, seq).next())?;
        let (key, value) = found.ok_or_else(|| lost(seq))?;
        let first_seq = key::last_u64(&key)?;
        let run: ProducerRun = row::decode(&key, value)?;
        let skipped = seq - first_seq;
        if skipped >= run.count {
            return Err(lost(seq).into());
        }
        if run.queue != id.queue {
            let problem = format!("sequence number {seq} was published to another queue");
            return Err(Refusal::Invalid { field: "queue", problem }.into());
        }
        let count = (run.count - skipped).min(end - seq);
        push(&mut positions, run.first_position + skipped, count);
        seq += count;
    }
    Ok(positions)
}

fn lost(seq: u64) -> StoreError {
    StoreError(format!("the receipt of sequence number {seq} is missing"))
}

fn push(positions: &mut Vec<PositionRun>, first_position: u64, count: u64) {
    // A batch is at most PUBLISH_MESSAGES_MAX long.
    let count = count as u32;
    match positions.last_mut() {
        Some(last) if last.first_position + u64::from(last.count) == first_position => last.count += count,
        _ => positions.push(PositionRun { first_position, count }),
    }
}

/// Writes a chunk at the queue's end. Returns its first position.
fn append<S: Store>(
    tx: &mut Tx<'_, S>,
    id: QueueId,
    lengths: &[u32],
    messages: Bytes,
    attributes: u32,
) -> Result<u64, StoreError> {
    let published_at_ms = if planted(Bug::NondeterministicApply) { local_clock_ms() } else { tx.now_ms };
    let queue = tx.queue(id)?;
    let columns = columns(lengths, &messages, attributes, published_at_ms, &queue.settings);
    let row = Chunk::encode(published_at_ms, queue.bytes_published, lengths, &messages, &columns);
    let first_position = queue.next_position;
    queue.next_position += lengths.len() as u64;
    queue.bytes_published += messages.len() as u64;
    let key = key::chunk(id, first_position);
    let chunk = Chunk::decode(&key, row.clone())?;
    tx.rows.insert(&key, row)?;
    tx.rows.insert(&key::body(id, first_position), messages.clone())?;
    for (time_ms, first, count) in expiries(&chunk) {
        note_expiry(tx, id, time_ms, first, count)?;
    }
    let superseded = retain::note_latest(tx, id, &chunk)?;
    look_at_new(tx, id, &chunk, &messages)?;
    make_room(tx, id)?;
    retain::after_publish(tx, id, &superseded)?;
    Ok(first_position)
}

/// What the queue has to know of the messages, if there is anything to know.
fn columns(
    lengths: &[u32],
    messages: &Bytes,
    attributes: u32,
    now_ms: u64,
    settings: &QueueSettings,
) -> Columns {
    let mut columns = Columns::default();
    let (ttl_ms, hashed) = (settings.ttl_ms, settings.retain.latest_per_key);
    let attributes = attributes | if hashed { KEYED } else { 0 };
    if attributes & (KEYED | DELAYED | EXPIRES | PRIORITISED) == 0 {
        if ttl_ms != 0 {
            columns.all_expire_ms = now_ms.saturating_add(ttl_ms);
        }
        return columns;
    }
    let expire = attributes & EXPIRES != 0 || ttl_ms != 0;
    for message in each(lengths, messages) {
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
    }
    columns
}

/// Remembers where messages went. Consecutive messages at consecutive positions share a row.
fn keep_receipts<S: Store>(
    tx: &mut Tx<'_, S>,
    producer: u64,
    first_seq: u64,
    run: ProducerRun,
) -> Result<(), StoreError> {
    let all = key::producer_runs(producer);
    if let Some((key, value)) = tx.rows.last(&all, &all.end())? {
        let last: ProducerRun = row::decode(&key, value.clone())?;
        let continues = key::last_u64(&key)? + last.count == first_seq
            && last.queue == run.queue
            && last.first_position + last.count == run.first_position;
        if continues {
            let joined = ProducerRun { count: last.count + run.count, ..last };
            return tx.rows.replace(&Key::read(&key)?, Some(&value), joined.encode_to_vec().into());
        }
    }
    tx.rows.insert(&key::producer_run(producer, first_seq), run.encode_to_vec().into())
}

/// Forgets the rows whose receipts the producer has, all of them.
fn drop_receipts<S: Store>(tx: &mut Tx<'_, S>, producer: u64, acked_seq: u64) -> Result<(), StoreError> {
    let from = key::producer_runs(producer);
    let to = key::producer_run(producer, acked_seq).next();
    while let Some((key, value)) = tx.rows.first(&from, &to)? {
        let run: ProducerRun = row::decode(&key, value.clone())?;
        if key::last_u64(&key)? + run.count - 1 > acked_seq {
            break;
        }
        tx.rows.remove(&Key::read(&key)?, &value)?;
    }
    Ok(())
}
