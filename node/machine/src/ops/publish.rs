//! Appending messages to a queue, once however often they are sent (P5).
//!
//! A session's batches continue each other without gaps. What is sent again is answered from its receipts, which
//! are kept until the producer says that it has them. A batch that is known in part is appended from there on. A message that the queue
//! has already by its id gets a receipt for that one.

use prost::Message as _;
use quorate_simpoint::{Bug, planted};

use super::append::{self, Messages, push};
use super::close_producer::current;
use super::{Done, Stop};
use crate::command::Publish;
use crate::limits::{PRODUCER_UNACKED_MAX, RECEIPTS_DROPPED_MIN};
use crate::names;
use crate::reply::{PositionRun, Refusal, Reply};
use crate::store::{Read, Store, StoreError};
use crate::tables::row::{self, ProducerRun};
use crate::tables::{Key, QueueId, key};
use crate::tx::Tx;

pub(crate) fn publish<S: Store>(tx: &mut Tx<'_, S>, command: Publish) -> Done {
    let Publish { lengths, messages: bytes, attributes, .. } = &command;
    let (lengths, attributes) = (&lengths[..], *attributes);
    let all = Messages { lengths, bytes, attributes };
    let id = names::queue(&tx.rows, &command.namespace, &command.queue)?;
    all.check_attributes(tx, id)?;
    if command.producer == 0 && command.epoch == 0 && command.first_seq == 0 {
        let positions = append::plan(tx, id, all)?.carry_out(tx)?;
        return Ok(Reply::Published { positions });
    }
    let known = check_session(tx, &command)?;
    let mut positions = receipts(tx, id, &command, known)?;
    let skipped: usize = lengths[..known as usize].iter().map(|length| *length as usize).sum();
    let (again, rest) = (bytes.slice(..skipped), bytes.slice(skipped..));
    let plan =
        append::plan(tx, id, Messages { lengths: &lengths[known as usize..], bytes: &rest, attributes })?;
    if planted(Bug::DedupIgnored) && known > 0 {
        append::write(tx, id, Messages { lengths: &lengths[..known as usize], bytes: &again, attributes })?;
    }

    let (count, now_ms) = (lengths.len() as u64, tx.now_ms);
    let row = current(tx, command.producer, command.epoch)?;
    row.used_at_ms = now_ms;
    row.acked_seq = row.acked_seq.max(command.acked_seq);
    row.last_seq = row.last_seq.max(command.first_seq + count - 1);
    let acked_seq = row.acked_seq;
    let mut seq = command.first_seq + known;
    for PositionRun { first_position, count, duplicate } in plan.carry_out(tx)? {
        let count = u64::from(count);
        let run = ProducerRun { queue: id.queue, first_position, count };
        keep_receipts(tx, command.producer, seq, run)?;
        push(&mut positions, first_position, count, duplicate);
        seq += count;
    }
    drop_receipts(tx, command.producer, acked_seq)?;
    Ok(Reply::Published { positions })
}

/// Checks the session and the sequence. Returns how many of the messages it published before.
fn check_session<S: Store>(tx: &mut Tx<'_, S>, command: &Publish) -> Result<u64, Stop> {
    let row = current(tx, command.producer, command.epoch)?;
    let (first, count) = (command.first_seq, command.lengths.len() as u64);
    if command.acked_seq > row.last_seq {
        let problem = format!("{} was not published yet: the last is {}", command.acked_seq, row.last_seq);
        return Err(Refusal::Invalid { field: "acked_seq", problem: problem.into() }.into());
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
            let problem = format!(
                "sequence number {seq} was published to another queue, or to one of this name that was deleted"
            );
            return Err(Refusal::Invalid { field: "queue", problem: problem.into() }.into());
        }
        let count = (run.count - skipped).min(end - seq);
        push(&mut positions, run.first_position + skipped, count, true);
        seq += count;
    }
    Ok(positions)
}

fn lost(seq: u64) -> StoreError {
    StoreError(format!("the receipt of sequence number {seq} is missing"))
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

/// Forgets the rows whose receipts the producer has, as far as there is room: nobody asks for the others any more, and the next publish goes on.
fn drop_receipts<S: Store>(tx: &mut Tx<'_, S>, producer: u64, acked_seq: u64) -> Result<(), StoreError> {
    let from = key::producer_runs(producer);
    let to = key::producer_run(producer, acked_seq).next();
    let mut dropped = 0;
    while dropped < RECEIPTS_DROPPED_MIN || !tx.is_full() {
        let Some((key, value)) = tx.rows.first(&from, &to)? else { break };
        dropped += 1;
        let run: ProducerRun = row::decode(&key, value.clone())?;
        let last_seq = key::last_u64(&key)? + run.count - 1;
        if last_seq > acked_seq {
            break;
        }
        tx.rows.remove(&Key::read(&key)?, &value)?;
        if last_seq == acked_seq {
            break; // as it is mostly: there is nothing else to look for
        }
    }
    Ok(())
}
