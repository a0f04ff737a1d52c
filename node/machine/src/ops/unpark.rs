//! Redriving and discarding parked messages: at once if they are few, otherwise as a job that ticks carry on with.
//!
//! A job goes through the parked runs in order of position, then, if it concerns whole keys, through the keys.

use prost::Message as _;

use super::Done;
use super::update_sub::find;
use crate::command::{Action, Selector, Unpark};
use crate::message::Message;
use crate::reply::Reply;
use crate::store::{Read, Store, StoreError};
use crate::subs::filter::{self, takes};
use crate::subs::lanes::{self, LaneId};
use crate::subs::leave::chunk_of;
use crate::subs::park::{discard, discard_key, redrive};
use crate::subs::{self, runs};
use crate::tables::chunk::{self, lane_of};
use crate::tables::row::{self, Ids, Job};
use crate::tables::{Key, QueueId, SubId, Table, key};
use crate::tx::Tx;
use crate::work::{Kind, Step};

pub(crate) fn unpark<S: Store>(tx: &mut Tx<'_, S>, command: &Unpark) -> Done {
    let id = find(tx, &command.namespace, &command.queue, &command.subscription)?;
    let Selector { from_position, to_position, .. } = command.selector;
    let filter = filter::check(command.selector.filter.as_ref())?.cloned();
    let tail = tx.queue(id.queue)?.next_position;
    let mut job = Job {
        namespace: id.queue.namespace,
        queue: id.queue.queue,
        sub: id.sub,
        action: command.action,
        selector: Selector { filter, ..command.selector.clone() },
        per_second: command.per_second,
        started_at_ms: tx.now_ms,
        done: 0,
        next_position: from_position,
        end: if to_position == 0 { tail } else { tail.min(to_position.saturating_add(1)) },
        due_ms: 0,
        lane: None,
    };
    tx.did(Kind::Unpark, id, 0, 0);
    if step(tx, &mut job)? {
        return Ok(Reply::Unparked { messages: job.done, job: 0 });
    }
    let mut ids: Ids = row::get(&tx.rows, &key::ids())?.unwrap_or_default();
    ids.last_job += 1;
    tx.put_message(&key::ids(), &ids)?;
    put(tx, ids.last_job, &job)?;
    Ok(Reply::Unparked { messages: job.done, job: ids.last_job })
}

/// A tick carries on with a job whose time has come.
pub(super) fn carry_on<S: Store>(tx: &mut Tx<'_, S>, deadline: &[u8]) -> Result<(), StoreError> {
    let id = key::last_u64(deadline)?;
    let (time_ms, _) = key::deadline(deadline)?;
    tx.steps.push(Step { time_ms, kind: Kind::Job, queue: 0, sub: 0, first: id, end: id.saturating_add(1) });
    let job_key = key::job(id);
    tx.rows.delete(&Key::read(deadline)?)?;
    let Some(mut job) = row::get::<Job>(&tx.rows, &job_key)? else { return Ok(()) };
    let sub = sub_of(&job);
    if tx.find_sub(sub)?.is_none() || step(tx, &mut job)? {
        tx.rows.delete(&job_key)?;
    } else {
        put(tx, id, &job)?;
    }
    tx.touch(sub);
    Ok(())
}

fn sub_of(job: &Job) -> SubId {
    SubId { queue: QueueId { namespace: job.namespace, queue: job.queue }, sub: job.sub }
}

/// How many messages a job may have redriven or discarded by now.
fn allowed(job: &Job, now_ms: u64) -> u64 {
    if job.per_second == 0 {
        return u64::MAX;
    }
    now_ms.saturating_sub(job.started_at_ms).saturating_mul(job.per_second.into()) / 1000 + 1
}

fn put<S: Store>(tx: &mut Tx<'_, S>, id: u64, job: &Job) -> Result<(), StoreError> {
    let due_ms = match u64::from(job.per_second) {
        0 => tx.now_ms,
        per_second => job.started_at_ms.saturating_add((job.done * 1000).div_ceil(per_second)),
    };
    let job = Job { due_ms, ..job.clone() };
    tx.steps.push(Step { time_ms: due_ms, kind: Kind::JobLeft, queue: 0, sub: 0, first: id, end: 0 });
    tx.rows.insert(&key::deadline_job(due_ms, id), bytes::Bytes::new())?;
    tx.put_message(&key::job(id), &job)
}

/// Does as much as there is room for, and something in any case if the rate allows it. True if nothing is left.
fn step<S: Store>(tx: &mut Tx<'_, S>, job: &mut Job) -> Result<bool, StoreError> {
    let id = sub_of(job);
    tx.touch(id);
    let mut begun = false;
    while job.lane.is_none() {
        let most = most(tx, job, begun)?;
        if most == 0 {
            return Ok(false);
        }
        step_runs(tx, id, job, most)?;
        begun = true;
    }
    while let Some(lane) = next_key(&tx.rows, id, job)? {
        let most = most(tx, job, begun)?;
        if most == 0 {
            return Ok(false);
        }
        step_key(tx, LaneId { sub: id, lane }, job, most)?;
        begun = true;
        // A key of which something is left is still parked, and is found again.
        let parked = tx.lane(LaneId { sub: id, lane })?.parked;
        job.lane = Some(if parked { lane } else { lane.saturating_add(1) });
    }
    Ok(true)
}

/// How many messages may be redriven or discarded before it is asked again; 0: that is for a later entry.
fn most<S: Store>(tx: &mut Tx<'_, S>, job: &Job, begun: bool) -> Result<u64, StoreError> {
    if begun && tx.is_full() {
        return Ok(0);
    }
    Ok(subs::room(tx, sub_of(job))?.min(allowed(job, tx.now_ms).saturating_sub(job.done)))
}

/// Goes on with the parked runs; at the end it turns to the keys.
fn step_runs<S: Store>(tx: &mut Tx<'_, S>, id: SubId, job: &mut Job, most: u64) -> Result<(), StoreError> {
    let next = job.next_position;
    let begins_before = runs::at(&tx.rows, id, next)?
        .filter(|run| matches!(run.state, runs::State::Parked | runs::State::Blocked));
    let run = match begins_before {
        Some(run) => Some(run),
        None => {
            let end = key::of_sub(Table::ParkedRun, id).end();
            match tx.rows.first(&key::parked_run(id, next), &end)? {
                Some((row, _)) => runs::get(&tx.rows, id, key::last_u64(&row)?)?,
                None => None,
            }
        }
    };
    // What was redriven may be parked again, and is joined with what lies behind the end.
    let Some(run) = run.filter(|run| run.first.max(next) < job.end) else {
        job.lane = Some(0);
        // What is parked there from now on is not its business.
        if next < job.end {
            tx.did(Kind::Unparked, id, next, job.end);
        }
        return Ok(());
    };
    let from = run.first.max(next);
    let mut stop = run.end().min(job.end).min(from.saturating_add(most));
    // One stretch of messages that are, or are not, selected.
    let selected = selects(tx, id.queue, &job.selector, from)?;
    for position in from + 1..stop {
        if tx.is_full() || selects(tx, id.queue, &job.selector, position)? != selected {
            stop = position;
            break;
        }
    }
    if selected {
        job.done += match job.action() {
            Action::Redrive => redrive(tx, id, &run, from, stop)?,
            _ => {
                discard(tx, id, &run, from, stop)?;
                stop - from
            }
        };
    }
    job.next_position = stop;
    tx.did(Kind::Unparked, id, from, stop);
    Ok(())
}

/// Goes on with a parked key.
fn step_key<S: Store>(tx: &mut Tx<'_, S>, id: LaneId, job: &mut Job, most: u64) -> Result<(), StoreError> {
    let done = match job.action() {
        Action::Redrive => lanes::unpark(tx, id)?,
        _ => discard_key(tx, id, job.end, most)?,
    };
    job.done += done;
    if job.action() != Action::Redrive && done > 0 {
        tx.did(Kind::DiscardedInKey, id.sub, id.lane, done);
    }
    if !tx.lane(id)?.parked {
        tx.did(Kind::UnparkedKey, id.sub, id.lane, 0);
    }
    Ok(())
}

fn selects<S: Store>(
    tx: &Tx<'_, S>,
    queue: QueueId,
    selector: &Selector,
    position: u64,
) -> Result<bool, StoreError> {
    if selector.key.is_none() && selector.filter.is_none() {
        return Ok(true);
    }
    let chunk = chunk_of(&tx.rows, queue, position)?;
    if selector.key.as_ref().is_some_and(|key| chunk.lane(position) != lane_of(key)) {
        return Ok(false);
    }
    let body = chunk::body(&tx.rows, queue, &chunk)?;
    let Ok(message) = Message::decode(chunk.message(&body, position)?) else { return Ok(false) };
    let is_of_key = selector.key.as_ref().is_none_or(|key| message.key == key);
    Ok(is_of_key && selector.filter.as_ref().is_none_or(|filter| takes(filter, &message)))
}

/// The next parked key that the job concerns.
fn next_key(rows: &impl Read, id: SubId, job: &Job) -> Result<Option<u64>, StoreError> {
    let Selector { from_position, to_position, key, filter } = &job.selector;
    let Some(from) = job.lane else { return Ok(None) };
    if *from_position != 0 || *to_position != 0 || filter.is_some() {
        return Ok(None);
    }
    let end = match key {
        // A key without bytes is none: it has no lane.
        Some(key) => (lane_of(key).max(from), lane_of(key).saturating_add(1)),
        None => (from, u64::MAX),
    };
    let found = rows.first(&key::parked_lane(id, end.0), &key::parked_lane(id, end.1))?;
    found.map(|(row, _)| key::last_u64(&row)).transpose()
}
