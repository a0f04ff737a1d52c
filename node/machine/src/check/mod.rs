//! Every structural invariant of the state, checked by a scan: for tests and the simulator, after any entry.

mod former;
mod lanes;
mod messages;
mod producers;
mod retain;
mod routes;
mod sessions;
mod state;
mod subs;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::store::Read;
use crate::tables::key::{Due, Fields};
use crate::tables::row::{self, Queue, Sub};
use crate::tables::{QueueId, SubId, Table, key};

type Rows = Vec<(Bytes, Bytes)>;

/// Whether the state is sound; if not, what is wrong first. The state is as an entry left it: what could be
/// leased is leased.
pub fn check(store: &impl Read) -> Result<(), String> {
    let mut view = View::read(store)?;
    for (id, queue) in view.queues.clone() {
        messages::check(store, &mut view, id, &queue)?;
        for sub in queue.subs {
            subs::check(store, &mut view, SubId { queue: id, sub })?;
        }
    }
    routes::check(store, &view)?;
    former::check(store, &view)?;
    sessions::check(store, &view)?;
    producers::check(store, &mut view)?;
    for (key, value) in scan(store, &key::all(Table::Job))? {
        let job: row::Job = row::decode(&key, value).map_err(failed)?;
        let id = key::last_u64(&key).map_err(failed)?;
        view.expected.insert(key::deadline_job(job.due_ms, id).to_vec());
    }
    indexes(store, &view)?;
    let digest = crate::read::digest(store).map_err(failed)?;
    let recount = crate::digest::recount(store).map_err(failed)?;
    ensure(digest == recount, || format!("the digest is {digest:02x?}, the rows add up to {recount:02x?}"))
}

/// The header rows, and the index rows that runs and producers say there should be.
struct View {
    queues: BTreeMap<QueueId, Queue>,
    subs: BTreeMap<SubId, Sub>,
    expected: BTreeSet<Vec<u8>>,
}

impl View {
    /// The subscription that has a seat.
    fn seated(&self, seat: SubId) -> Option<SubId> {
        let sub = self.queues.get(&seat.queue)?.seated(seat.sub)?;
        Some(SubId { sub, ..seat })
    }

    fn read(store: &impl Read) -> Result<Self, String> {
        let mut view = Self { queues: BTreeMap::new(), subs: BTreeMap::new(), expected: BTreeSet::new() };
        for (key, value) in scan(store, &key::all(Table::Queue))? {
            let id = Fields::of(&key).queue().map_err(failed)?;
            view.queues.insert(id, row::decode(&key, value).map_err(failed)?);
        }
        for (key, value) in scan(store, &key::all(Table::Sub))? {
            let id = Fields::of(&key).sub().map_err(failed)?;
            view.subs.insert(id, row::decode(&key, value).map_err(failed)?);
        }
        let listed = view
            .queues
            .iter()
            .flat_map(|(id, queue)| queue.subs.iter().map(|sub| SubId { queue: *id, sub: *sub }));
        ensure(listed.eq(view.subs.keys().copied()), || "queues and subscriptions disagree".into())?;
        let seats = view.queues.values().flat_map(|queue| queue.seats.iter().copied());
        ensure(seats.eq(view.subs.values().map(|sub| sub.seat)), || "queues and seats disagree".into())?;
        for (key, value) in scan(store, &key::all(Table::QueueName))? {
            let queue = u64::from_be_bytes(value[..].try_into().map_err(|_| "a queue name without an id")?);
            let id = QueueId { namespace: u32::from_be_bytes([key[1], key[2], key[3], key[4]]), queue };
            ensure(view.queues.contains_key(&id), || format!("the name of {id:?} has no queue"))?;
        }
        let names = scan(store, &key::all(Table::QueueName))?.len();
        ensure(names == view.queues.len(), || format!("{names} names, {} queues", view.queues.len()))?;
        let names = scan(store, &key::all(Table::SubName))?.len();
        ensure(names == view.subs.len(), || format!("{names} names, {} subscriptions", view.subs.len()))?;
        Ok(view)
    }
}

/// The index tables hold what is expected; beyond that only what a sweep or a tick still has to remove.
fn indexes(store: &impl Read, view: &View) -> Result<(), String> {
    let mut found = BTreeSet::new();
    for table in [Table::ReadyRun, Table::ParkedRun, Table::Held, Table::Deadline] {
        for (key, _) in scan(store, &key::all(table))? {
            if view.expected.contains(&key[..]) {
                found.insert(key.to_vec());
            } else {
                ensure(is_left_over(store, view, table, &key)?, || format!("{table:?} has {key:02x?}"))?;
            }
        }
    }
    match view.expected.difference(&found).next() {
        Some(missing) => Err(format!("the index row {missing:02x?} is missing")),
        None => Ok(()),
    }
}

fn is_left_over(store: &impl Read, view: &View, table: Table, key: &[u8]) -> Result<bool, String> {
    let mut fields = Fields::of(key);
    if table == Table::Held {
        fields.u64().map_err(failed)?;
    }
    if table == Table::Deadline {
        match key::deadline(key).map_err(failed)?.1 {
            Some(Due::IdleProducer | Due::Job | Due::Retain) => return Ok(false),
            // Those to come are expected; one of the past waits for the tick.
            Some(Due::Expiry) => {
                let now_ms = crate::read::now_ms(store).map_err(failed)?;
                let past = key::deadline(key).map_err(failed)?.0 <= now_ms;
                fields.u64().map_err(failed)?;
                let deleted = !view.queues.contains_key(&fields.queue().map_err(failed)?);
                return Ok(past || deleted);
            }
            _ => {}
        }
    }
    fields.u64().map_err(failed)?;
    if table == Table::ReadyRun {
        // The priority stands between.
        fields = Fields::of(&key[..key.len().saturating_sub(9)]);
    }
    let sub = fields.sub().map_err(failed)?;
    Ok(!view.subs.contains_key(&sub))
}

fn scan(store: &impl Read, prefix: &key::Key) -> Result<Rows, String> {
    let (mut rows, mut from, end) = (Vec::new(), prefix.to_vec(), prefix.end());
    while let Some((key, value)) = store.first(&from, &end).map_err(failed)? {
        from = [&key[..], &[0]].concat();
        rows.push((key, value));
    }
    Ok(rows)
}

fn failed(error: crate::store::StoreError) -> String {
    error.to_string()
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}
