//! The interval map of a subscription: where the positions below the cursor stand. Those without a run are done.
//!
//! A run's row comes with its index rows (ready, held, deadline, parked) and is counted in its subscription and its holder.
//! [`write`] and [`erase`] keep the index rows, [`count`] and [`uncount`] the counters: cutting a run in pieces
//! changes rows, but no counter.

use bytes::Bytes;
use prost::Message;

use crate::effect::Lease;
use crate::store::{Read, Store, StoreError};
use crate::tables::key::Due;
use crate::tables::{Key, SubId, Table, key, row};
use crate::tx::Tx;

/// `count` consecutive positions that share a fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// The number that their current or next delivery carries.
    pub(crate) attempt: u32,
    pub(crate) state: State,
    pub(crate) priority: u8,
    /// Their time came while they were parked: they expire no more.
    pub(crate) kept: bool,
    /// Some of them may have failures on record.
    pub(crate) noted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Leased {
        consumer: u64,
        first_token: u64,
        deadline_ms: u64,
    },
    /// May be leased: in order `key` it is on offer.
    Ready,
    Retrying {
        at_ms: u64,
    },
    Delayed {
        at_ms: u64,
    },
    /// Out of its order.
    Parked,
    /// Parked in its place: what follows waits.
    Blocked,
    /// Order `key`: ready, and behind others of its key, or its key is parked.
    Waiting,
}

impl Run {
    /// The position after the last.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }

    /// Messages that nobody has had yet.
    pub(crate) fn fresh(first: u64, count: u64, state: State) -> Run {
        Run { first, count, attempt: 1, state, priority: 0, kept: false, noted: false }
    }

    /// Whether nothing but their positions tells them apart. Leases are not joined: their tokens would have to continue each other.
    pub(crate) fn is_like(&self, other: &Run) -> bool {
        !matches!(self.state, State::Leased { .. })
            && Run { first: 0, count: 0, ..*self } == Run { first: 0, count: 0, ..*other }
    }

    /// The part `from..to`, which must lie within.
    pub(crate) fn part(&self, from: u64, to: u64) -> Run {
        let mut part = Run { first: from, count: to - from, ..*self };
        if let State::Leased { first_token, .. } = &mut part.state {
            *first_token += from - self.first;
        }
        part
    }

    /// As the outside sees it, if it is leased.
    pub(crate) fn lease(&self, sub: SubId) -> Option<(u64, Lease)> {
        let State::Leased { consumer, first_token, deadline_ms } = self.state else { return None };
        let lease = Lease {
            namespace: sub.queue.namespace,
            queue: sub.queue.queue,
            first_position: self.first,
            // A lease is never longer than a consumer's credit.
            count: u32::try_from(self.count).unwrap_or(u32::MAX),
            first_token,
            attempt: self.attempt,
            deadline_ms,
        };
        Some((consumer, lease))
    }

    fn encode(&self) -> Bytes {
        let mut value = row::Run {
            count: self.count,
            attempt: self.attempt,
            priority: self.priority.into(),
            kept: self.kept,
            noted: self.noted,
            ..row::Run::default()
        };
        match self.state {
            State::Leased { consumer, first_token, deadline_ms } => {
                value = row::Run { state: 1, consumer, first_token, time_ms: deadline_ms, ..value };
            }
            State::Ready => value.state = 2,
            State::Retrying { at_ms } => value = row::Run { state: 3, time_ms: at_ms, ..value },
            State::Delayed { at_ms } => value = row::Run { state: 4, time_ms: at_ms, ..value },
            State::Parked => value.state = 5,
            State::Blocked => value.state = 6,
            State::Waiting => value.state = 7,
        }
        value.encode_to_vec().into()
    }

    pub(crate) fn decode(key: &[u8], value: Bytes) -> Result<Run, StoreError> {
        let row: row::Run = row::decode(key, value)?;
        let state = match row.state {
            1 => State::Leased {
                consumer: row.consumer,
                first_token: row.first_token,
                deadline_ms: row.time_ms,
            },
            2 => State::Ready,
            3 => State::Retrying { at_ms: row.time_ms },
            4 => State::Delayed { at_ms: row.time_ms },
            5 => State::Parked,
            6 => State::Blocked,
            7 => State::Waiting,
            other => return Err(StoreError(format!("a run has the unknown state {other}"))),
        };
        let priority = u8::try_from(row.priority)
            .map_err(|_| StoreError(format!("a run has the priority {}", row.priority)))?;
        let first = key::last_u64(key)?;
        let row::Run { count, attempt, kept, noted, .. } = row;
        Ok(Run { first, count, attempt, state, priority, kept, noted })
    }
}

/// The run that begins at `first`.
pub(crate) fn get(rows: &impl Read, sub: SubId, first: u64) -> Result<Option<Run>, StoreError> {
    let key = key::run(sub, first);
    rows.get(&key)?.map(|value| Run::decode(&key, value)).transpose()
}

/// The first run that begins at `position` or later.
pub(crate) fn from(rows: &impl Read, sub: SubId, position: u64) -> Result<Option<Run>, StoreError> {
    let end = key::of_sub(Table::Run, sub).end();
    let found = rows.first(&key::run(sub, position), &end)?;
    found.map(|(key, value)| Run::decode(&key, value)).transpose()
}

/// The last run that begins before `position`.
pub(crate) fn before(rows: &impl Read, sub: SubId, position: u64) -> Result<Option<Run>, StoreError> {
    let found = rows.last(&key::of_sub(Table::Run, sub), &key::run(sub, position))?;
    found.map(|(key, value)| Run::decode(&key, value)).transpose()
}

/// The run that `position` is in.
pub(crate) fn at(rows: &impl Read, sub: SubId, position: u64) -> Result<Option<Run>, StoreError> {
    Ok(before(rows, sub, position.saturating_add(1))?.filter(|run| run.end() > position))
}

/// The run that holds a position, or else the next one.
pub(crate) fn at_or_after(rows: &impl Read, sub: SubId, position: u64) -> Result<Option<Run>, StoreError> {
    match at(rows, sub, position)? {
        None => from(rows, sub, position),
        found => Ok(found),
    }
}

/// The ready run that goes first: the lowest of the highest priority. In order `total`, which has no priorities: the lowest from `from`
/// on that is in its order and not leased, though it may retry or be blocked.
pub(crate) fn first_ready(rows: &impl Read, sub: SubId, from: u64) -> Result<Option<Run>, StoreError> {
    let ready = key::of_sub(Table::ReadyRun, sub);
    let start = if from == 0 { ready.clone() } else { key::ready_run(sub, 0, from) };
    let Some((key, _)) = rows.first(&start, &ready.end())? else { return Ok(None) };
    let first = key::last_u64(&key)?;
    get(rows, sub, first)?
        .map_or_else(|| Err(StoreError(format!("the ready run at {first} has no row"))), |run| Ok(Some(run)))
}

/// The runs that `consumer` holds and that overlap `from..to`, in order of position.
pub(crate) fn held(
    rows: &impl Read,
    sub: SubId,
    consumer: u64,
    from: u64,
    to: u64,
) -> Result<Vec<Run>, StoreError> {
    let mut runs = Vec::new();
    let start = rows.last(&key::held_by(sub, consumer), &key::held(sub, consumer, from).next())?;
    let mut next = match start {
        Some((key, _)) => key::last_u64(&key)?,
        None => from,
    };
    while next < to {
        let Some((key, _)) = rows.first(&key::held(sub, consumer, next), &key::held(sub, consumer, to))?
        else {
            break;
        };
        let first = key::last_u64(&key)?;
        let run = get(rows, sub, first)?;
        let run = run.ok_or_else(|| StoreError(format!("the held run at {first} has no row")))?;
        next = run.end().max(first.saturating_add(1));
        if run.end() > from {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Writes a run's row and index rows.
pub(crate) fn write<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run) -> Result<(), StoreError> {
    tx.rows.insert(&key::run(sub, run.first), run.encode())?;
    for index in index(sub, run, tx.sub(sub)?.is_total()).into_iter().flatten() {
        tx.rows.insert(&index, Bytes::new())?;
    }
    Ok(())
}

/// Removes a run's row and index rows.
pub(crate) fn erase<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run) -> Result<(), StoreError> {
    tx.rows.remove(&key::run(sub, run.first), &run.encode())?;
    for index in index(sub, run, tx.sub(sub)?.is_total()).into_iter().flatten() {
        tx.rows.remove(&index, &[])?;
    }
    Ok(())
}

/// Removes the row and the index rows of a leased run of a subscription's former number; its deadline may have passed and be gone.
pub(crate) fn erase_abandoned<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run) -> Result<(), StoreError> {
    tx.rows.remove(&key::run(sub, run.first), &run.encode())?;
    for index in index(sub, run, false).into_iter().flatten() {
        tx.rows.delete(&index)?;
    }
    Ok(())
}

/// The index rows of a run; `total`: of a subscription of that order.
pub(crate) fn index(sub: SubId, run: &Run, total: bool) -> [Option<Key>; 2] {
    let first = run.first;
    let ready = key::ready_run(sub, run.priority, first);
    // What holds up everything behind it stands among what is ready, so that it is found in its place.
    let holds_up = total.then(|| ready.clone());
    match run.state {
        State::Leased { consumer, deadline_ms, .. } => [
            Some(key::held(sub, consumer, first)),
            Some(key::deadline_run(deadline_ms, Due::Lease, sub, first)),
        ],
        State::Ready => [Some(ready), None],
        State::Retrying { at_ms } => [Some(key::deadline_run(at_ms, Due::Retry, sub, first)), holds_up],
        State::Delayed { at_ms } => [Some(key::deadline_run(at_ms, Due::Delay, sub, first)), None],
        State::Parked => [Some(key::parked_run(sub, first)), None],
        State::Blocked => [Some(key::parked_run(sub, first)), holds_up],
        State::Waiting => [None, None],
    }
}

/// Adds a run to the counters.
pub(crate) fn count<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run) -> Result<(), StoreError> {
    shift(tx, sub, run, u64::saturating_add)
}

/// Takes a run from the counters.
pub(crate) fn uncount<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: &Run) -> Result<(), StoreError> {
    shift(tx, sub, run, u64::saturating_sub)
}

fn shift<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    by: fn(u64, u64) -> u64,
) -> Result<(), StoreError> {
    let row = tx.sub(sub)?;
    let counter = match run.state {
        State::Leased { .. } => &mut row.leased,
        State::Ready => &mut row.returned,
        State::Retrying { .. } => &mut row.retrying,
        State::Delayed { .. } => &mut row.delayed,
        State::Parked | State::Blocked => &mut row.parked,
        State::Waiting => &mut row.queued,
    };
    *counter = by(*counter, run.count);
    if let State::Leased { consumer, .. } = run.state {
        tx.set_consumer(consumer, |row| {
            if let Some(row) = row {
                row.outstanding = by(row.outstanding, run.count);
            }
        })?;
    }
    Ok(())
}

/// Takes `from..to` out of a run, whose other parts stay, and out of the counters. Returns the part.
pub(crate) fn take<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    from: u64,
    to: u64,
) -> Result<Run, StoreError> {
    let part = carve(tx, sub, run, from, to)?;
    uncount(tx, sub, &part)?;
    Ok(part)
}

/// Takes `from..to` out of a run, whose other parts stay. Counts nothing. Returns the part.
pub(crate) fn carve<S: Store>(
    tx: &mut Tx<'_, S>,
    sub: SubId,
    run: &Run,
    from: u64,
    to: u64,
) -> Result<Run, StoreError> {
    debug_assert!(run.first <= from && from < to && to <= run.end(), "{from}..{to} of {run:?}");
    erase(tx, sub, run)?;
    if run.first < from {
        write(tx, sub, &run.part(run.first, from))?;
    }
    if to < run.end() {
        write(tx, sub, &run.part(to, run.end()))?;
    }
    Ok(run.part(from, to))
}

/// Writes and counts a run, joined with its neighbours where they share its fate.
pub(crate) fn place<S: Store>(tx: &mut Tx<'_, S>, sub: SubId, run: Run) -> Result<(), StoreError> {
    count(tx, sub, &run)?;
    let mut joined = run;
    if let Some(left) = before(&tx.rows, sub, run.first)?
        && left.end() == run.first
        && run.is_like(&left)
    {
        erase(tx, sub, &left)?;
        joined = Run { first: left.first, count: left.count + joined.count, ..joined };
    }
    if let Some(right) = get(&tx.rows, sub, run.end())?
        && run.is_like(&right)
    {
        erase(tx, sub, &right)?;
        joined.count += right.count;
    }
    write(tx, sub, &joined)
}
