//! Cancelling a message that is not due yet, and moving its time.

use super::{Done, Stop};
use crate::command::Reschedule;
use crate::reply::{Refusal, Reply};
use crate::store::{Read, Store, StoreError};
use crate::subs::leave::{Why, chunk_of, expiries, expiry_counts, leave, note_expiry};
use crate::subs::look::make_ready;
use crate::subs::runs::{self, Run, State};
use crate::tables::chunk::Chunk;
use crate::tables::{QueueId, SubId, key};
use crate::tx::Tx;
use crate::{ids, names};

pub(crate) fn reschedule<S: Store>(tx: &mut Tx<'_, S>, command: &Reschedule) -> Done {
    let queue = names::queue(&tx.rows, &command.namespace, &command.queue)?;
    let position = match (command.position, &command.id[..]) {
        (position, "") => position,
        (0, id) => ids::position_of(tx, queue, id)?.ok_or_else(|| Refusal::UnknownId(id.into()))?,
        // What names two is unlawful, and does not come here.
        (position, _) => position,
    };
    let found = delayed(tx, queue, position)?;
    if command.deliver_at_ms != 0 {
        move_times(tx, queue, position, command.deliver_at_ms)?;
    }
    for (sub, run) in found {
        let part = runs::take(tx, sub, &run, position, position + 1)?;
        tx.touch(sub);
        if command.deliver_at_ms == 0 {
            leave(tx, sub, &part, Why::Done)?;
        } else if command.deliver_at_ms <= tx.now_ms {
            make_ready(tx, sub, part)?;
        } else {
            let state = State::Delayed { at_ms: command.deliver_at_ms };
            runs::place(tx, sub, Run { state, ..part })?;
        }
    }
    Ok(Reply::Done)
}

/// Where the message is delayed: everywhere that is not done with it.
fn delayed<S: Store>(tx: &mut Tx<'_, S>, queue: QueueId, position: u64) -> Result<Vec<(SubId, Run)>, Stop> {
    let row = tx.queue(queue)?;
    if !(1..row.next_position).contains(&position) {
        return Err(Refusal::UnknownMessage(position).into());
    }
    let mut found = Vec::new();
    for sub in row.subs.clone() {
        let id = SubId { queue, sub };
        if position >= tx.sub(id)?.cursor {
            return Err(Refusal::NotDelayed(position).into());
        }
        match runs::at(&tx.rows, id, position)? {
            Some(run) if matches!(run.state, State::Delayed { .. }) => found.push((id, run)),
            Some(_) => return Err(Refusal::NotDelayed(position).into()),
            None => {}
        }
    }
    if found.is_empty() {
        return Err(Refusal::UnknownMessage(position).into());
    }
    Ok(found)
}

/// Notes in the message's chunk when it is due, and when it expires: as long after that as before.
fn move_times<S: Store>(
    tx: &mut Tx<'_, S>,
    queue: QueueId,
    position: u64,
    deliver_at_ms: u64,
) -> Result<(), StoreError> {
    let chunk = chunk_of(&tx.rows, queue, position)?;
    let due_ms = deliver_at_ms.max(tx.now_ms);
    let expires_ms = match chunk.expires_ms(position) {
        0 => 0,
        expires_ms => due_ms.saturating_add(expires_ms.saturating_sub(chunk.due_ms(position))),
    };
    let mut pending = Vec::new();
    for (time_ms, first, count) in expiries(&chunk) {
        let key = key::deadline_expiry(time_ms, queue, first);
        if let Some(row) = tx.rows.get(&key)? {
            tx.rows.remove(&key, &row)?;
            let (_, done) = expiry_counts(&row)?;
            pending.push(first + u64::from(done)..first + u64::from(count));
        }
    }
    let row = chunk.with_times(position, due_ms, expires_ms);
    let chunk_key = key::chunk(queue, chunk.first);
    let chunk = Chunk::decode(&chunk_key, row.clone())?;
    for (time_ms, first, count) in expiries(&chunk) {
        let of_this =
            |pending: &std::ops::Range<u64>| pending.start < first + u64::from(count) && first < pending.end;
        if pending.iter().any(of_this) {
            note_expiry(tx, queue, time_ms, first, count)?;
        }
    }
    tx.rows.put(&chunk_key, row)
}
