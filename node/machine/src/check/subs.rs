//! The runs of a subscription, its counters and its order.

use super::{View, ensure, failed, lanes, scan};
use crate::store::Read;
use crate::subs::runs::{self, Run, State};
use crate::tables::row::{Consumer, Sub};
use crate::tables::{SubId, Table, chunk, key, row};

pub(super) fn check(store: &impl Read, view: &mut View, id: SubId) -> Result<(), String> {
    let sub = view.subs[&id];
    let tail = view.queues[&id.queue].next_position;
    let mut runs = Vec::new();
    for (key, value) in scan(store, &key::of_sub(Table::Run, id))? {
        runs.push(Run::decode(&key, value).map_err(failed)?);
    }
    ensure(sub.cursor <= tail, || format!("{id:?}: the cursor is beyond the end"))?;
    disjoint(id, &sub, &runs)?;
    let sum = |of: fn(&State) -> bool| runs.iter().filter(|run| of(&run.state)).map(|run| run.count).sum();
    let counted: [u64; 6] = [
        sum(|state| matches!(state, State::Leased { .. })),
        sum(|state| matches!(state, State::Ready)),
        sum(|state| matches!(state, State::Retrying { .. })),
        sum(|state| matches!(state, State::Delayed { .. })),
        sum(|state| matches!(state, State::Parked | State::Blocked)),
        sum(|state| matches!(state, State::Waiting)),
    ];
    let kept = [sub.leased, sub.returned, sub.retrying, sub.delayed, sub.parked, sub.queued];
    ensure(counted == kept, || format!("{id:?} counts {kept:?}, its runs are {counted:?}"))?;
    let seen_end = sub.seen_end(tail);
    let bytes = left_bytes(store, id, &runs, sub.cursor, seen_end)?;
    let kept = view.queues[&id.queue].bytes_published - sub.bytes_done;
    ensure(bytes == kept, || format!("{id:?} counts {kept} bytes, its messages have {bytes}"))?;
    tokens(store, id, &sub, &runs)?;
    settled_order(store, id, &sub, &runs, seen_end)?;
    lanes::check(store, id, &sub, &runs)?;
    if sub.unseen_from != 0 {
        let looking = store.get(&key::looking(id)).map_err(failed)?.is_some();
        ensure(looking, || format!("{id:?} has not seen everything and does not look"))?;
    }
    for run in runs {
        let index = runs::index(id, &run, sub.is_total());
        view.expected.extend(index.into_iter().flatten().map(|key| key.to_vec()));
    }
    Ok(())
}

fn disjoint(id: SubId, sub: &Sub, runs: &[Run]) -> Result<(), String> {
    for pair in runs.windows(2) {
        let (left, right) = (&pair[0], &pair[1]);
        ensure(left.end() <= right.first, || format!("{id:?}: {left:?} overlaps {right:?}"))?;
        let joinable = left.end() == right.first && left.is_like(right);
        ensure(!joinable, || format!("{id:?}: {left:?} and {right:?} should be one run"))?;
    }
    for run in runs {
        ensure(run.count > 0 && run.first > 0 && run.attempt > 0, || format!("{id:?}: {run:?} is void"))?;
        ensure(run.end() <= sub.cursor, || format!("{id:?}: {run:?} is beyond the cursor"))?;
    }
    Ok(())
}

/// Encoded size of what is not done; every such message must be there.
fn left_bytes(store: &impl Read, id: SubId, runs: &[Run], cursor: u64, tail: u64) -> Result<u64, String> {
    let mut bytes = 0;
    for (from, to) in runs.iter().map(|run| (run.first, run.end())).chain([(cursor, tail)]) {
        let mut at = from;
        while at < to {
            let chunk = chunk::at(store, id.queue, at).map_err(failed)?;
            let chunk = chunk.ok_or_else(|| format!("{id:?}: position {at} is not done and has no chunk"))?;
            let stop = chunk.end().min(to);
            bytes += chunk.bytes(at, stop);
            at = stop;
        }
    }
    Ok(bytes)
}

/// No token twice, none that was not given out, and every holder attached here (P4).
fn tokens(store: &impl Read, id: SubId, sub: &Sub, runs: &[Run]) -> Result<(), String> {
    let mut spans = Vec::new();
    for run in runs {
        let State::Leased { consumer, first_token, .. } = run.state else { continue };
        spans.push((first_token, first_token + run.count));
        let holder: Option<Consumer> = row::get(store, &key::consumer(consumer)).map_err(failed)?;
        let leaving = || store.get(&key::leaving(id, consumer)).map_err(failed);
        let here = match holder {
            Some(holder) => holder.sub_id() == id,
            None => leaving()?.is_some(),
        };
        ensure(here, || format!("{id:?}: {run:?} is held by one who is not attached"))?;
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        ensure(pair[0].1 <= pair[1].0, || format!("{id:?}: tokens of {pair:?} overlap"))?;
    }
    let last = spans.last().map_or(1, |span| span.1);
    ensure(last <= sub.next_token, || format!("{id:?}: a token beyond {} is in use", sub.next_token))
}

/// What could be leased is leased, and in order `total` there is one holder (P3).
fn settled_order(store: &impl Read, id: SubId, sub: &Sub, runs: &[Run], seen_end: u64) -> Result<(), String> {
    for reached in [false, true] {
        if store.get(&key::unassigned(reached, id)).map_err(failed)?.is_some() {
            return Ok(()); // the next entry goes on
        }
    }
    if !sub.is_total() {
        let ready = sub.returned + (seen_end - sub.cursor);
        return ensure(ready == 0 || sub.waiting == 0 || sub.paused, || {
            format!("{id:?}: {ready} are ready while {} wait", sub.waiting)
        });
    }
    let attached = scan(store, &key::of_sub(Table::SubConsumer, SubId { sub: sub.seat, ..id }))?;
    let Some((first, _)) = attached.first() else { return Ok(()) };
    let active = key::last_u64(first).map_err(failed)?;
    let foreign =
        runs.iter().find(|run| matches!(run.state, State::Leased { consumer, .. } if consumer != active));
    ensure(foreign.is_none(), || format!("{id:?}: {foreign:?} is not held by the active consumer {active}"))?;
    let row: Option<Consumer> = row::get(store, &key::consumer(active)).map_err(failed)?;
    let in_order =
        |run: &&Run| !matches!(run.state, State::Leased { .. } | State::Delayed { .. } | State::Parked);
    let next_is_ready = match runs.iter().find(in_order) {
        Some(run) => run.state == State::Ready,
        None => sub.cursor < seen_end,
    };
    // Whoever has not followed its subscription yet gets nothing.
    let idle = row.is_some_and(|row| row.sub_id() == id && row.free() > 0) && next_is_ready && !sub.paused;
    ensure(!idle, || format!("{id:?}: the next message is ready while consumer {active} waits"))
}
