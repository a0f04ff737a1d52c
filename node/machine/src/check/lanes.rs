//! Order `key`: lanes, what is queued in them, and what of them is on offer.

use std::collections::BTreeMap;

use super::{ensure, failed, scan};
use crate::store::Read;
use crate::subs::lanes;
use crate::subs::runs::{Run, State};
use crate::tables::row::{self, Lane, Sub};
use crate::tables::{SubId, Table, key};

pub(super) fn check(store: &impl Read, id: SubId, sub: &Sub, runs: &[Run]) -> Result<(), String> {
    let mut members: BTreeMap<u64, Vec<(u64, State)>> = BTreeMap::new();
    if sub.is_keyed() {
        for run in runs {
            for (position, lane) in lanes::of(store, id.queue, run.first, run.end()).map_err(failed)? {
                let left = matches!(run.state, State::Delayed { .. } | State::Parked);
                if lane != 0 && !left {
                    members.entry(lane).or_default().push((position, run.state));
                }
            }
        }
    }
    let (mut parked, mut next, mut queued) = (0, Vec::new(), 0);
    for (key, value) in scan(store, &key::of_sub(Table::Lane, id))? {
        let lane_id = key::last_u64(&key).map_err(failed)?;
        let lane: Lane = row::decode(&key, value).map_err(failed)?;
        let members = members.remove(&lane_id).unwrap_or_default();
        check_lane(id, sub, &lane, &members).map_err(|what| format!("{id:?}, lane {lane_id:x}: {what}"))?;
        for (position, _) in members.iter().filter(|(position, state)| is_queued(&lane, *position, state)) {
            let row = store.get(&key::queued(id, lane_id, *position)).map_err(failed)?;
            ensure(row.is_some(), || format!("{id:?}: {position} is not queued in {lane_id:x}"))?;
        }
        queued += lane.queued;
        if lane.next != 0 {
            next.push(key::next(id, lane.holder, lane.next).to_vec());
        }
        if lane.parked {
            parked += lane.waiting;
            let row = store.get(&key::parked_lane(id, lane_id)).map_err(failed)?;
            ensure(row.is_some(), || format!("{id:?}: lane {lane_id:x} is not listed as parked"))?;
        }
    }
    ensure(members.is_empty(), || format!("{id:?}: no lane for {members:?}"))?;
    ensure(parked == sub.queued_parked, || {
        format!("{id:?} counts {} parked, not {parked}", sub.queued_parked)
    })?;
    let rows = scan(store, &key::of_sub(Table::Queued, id))?.len() as u64;
    ensure(rows == queued, || format!("{id:?}: {rows} rows for {queued} queued messages"))?;
    next.sort();
    let rows: Vec<Vec<u8>> =
        scan(store, &key::of_sub(Table::Next, id))?.into_iter().map(|(key, _)| key.to_vec()).collect();
    ensure(rows == next, || format!("{id:?}: the next messages are {next:02x?}, not {rows:02x?}"))
}

fn is_queued(lane: &Lane, position: u64, state: &State) -> bool {
    !matches!(state, State::Leased { .. }) && lane.offered != position
}

fn check_lane(_: SubId, sub: &Sub, lane: &Lane, members: &[(u64, State)]) -> Result<(), String> {
    ensure(!lane.is_void(), || "it is empty".into())?;
    let leased: Vec<u64> = members
        .iter()
        .filter(|(_, state)| matches!(state, State::Leased { .. }))
        .map(|(position, _)| *position)
        .collect();
    ensure(leased == lane.leased, || format!("{leased:?} are leased, it says {:?}", lane.leased))?;
    let foreign = members
        .iter()
        .find(|(_, state)| matches!(state, State::Leased { consumer, .. } if *consumer != lane.holder));
    ensure(foreign.is_none(), || format!("{foreign:?} is not held by {}", lane.holder))?;
    ensure(leased.len() <= sub.settings.per_key_inflight as usize, || format!("{leased:?} are too many"))?;
    let offered: Vec<u64> =
        members.iter().filter(|(_, state)| *state == State::Ready).map(|(position, _)| *position).collect();
    ensure(offered == [lane.offered] || lane.offered == 0 && offered.is_empty(), || {
        format!("{offered:?} are ready, it offers {}", lane.offered)
    })?;
    let closed = lane.parked || !leased.is_empty();
    ensure(!closed || lane.offered == 0, || format!("it offers {}", lane.offered))?;
    let waiting = members.iter().filter(|(_, state)| *state == State::Waiting).count() as u64;
    ensure(waiting == lane.waiting, || format!("{waiting} wait, it counts {}", lane.waiting))?;
    let low = members.iter().find(|(position, state)| is_queued(lane, *position, state));
    if let Some((position, state)) = low.filter(|_| !closed) {
        let overtakes = lane.offered > *position;
        ensure(!overtakes, || format!("it offers {} before {position}", lane.offered))?;
        ensure(lane.offered != 0 || *state != State::Waiting, || format!("{position} is not on offer"))?;
    }
    Ok(())
}
