//! One entry being applied: the rows with their digest, the header rows that every command touches (decoded once
//! and written back once), the effects so far, and the subscriptions that need an assignment afterwards.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use quorate_simpoint::{Bug, planted};

use crate::digest::Digested;
use crate::effect::Effect;
use crate::ops::Stop;
use crate::store::{Read, Store, StoreError};
use crate::subs::lanes::LaneId;
use crate::tables::row::{self, Consumer, Lane, Producer, Queue, Sub};
use crate::tables::{Key, QueueId, SubId, key};
use crate::work::{Budget, Kind, Step};

pub(crate) struct Tx<'a, S: Store> {
    pub(crate) rows: Digested<'a, S>,
    /// Replicated time at this entry.
    pub(crate) now_ms: u64,
    pub(crate) effects: Vec<Effect>,
    /// What was carried out of what was left to do.
    pub(crate) steps: Vec<Step>,
    budget: Budget,
    dirty: BTreeSet<SubId>,
    last_needed_by: Option<SubId>,
    queues: Slots<Queue>,
    subs: Slots<Sub>,
    consumers: Slots<Consumer>,
    producers: Slots<Producer>,
    lanes: Slots<Lane>,
}

impl<'a, S: Store> Tx<'a, S> {
    /// Begins an entry that was stamped `time_ms`. Replicated time never goes back.
    pub(crate) fn begin(store: &'a mut S, time_ms: u64, budget: Budget) -> Result<Self, StoreError> {
        let mut rows = Digested::open(store)?;
        let old = rows.get(&key::now())?;
        let now_ms = match planted(Bug::TimeGoesBack) {
            true => time_ms,
            false => row::now_ms(&rows)?.max(time_ms),
        };
        rows.replace(&key::now(), old.as_deref(), row::of_u64(now_ms))?;
        Ok(Self {
            rows,
            now_ms,
            effects: Vec::new(),
            steps: Vec::new(),
            budget,
            dirty: BTreeSet::new(),
            last_needed_by: None,
            queues: Slots::new(),
            subs: Slots::new(),
            consumers: Slots::new(),
            producers: Slots::new(),
            lanes: Slots::new(),
        })
    }

    /// Writes what was only in memory, and the digest. Returns how many rows were touched in all, the effects, and the steps.
    pub(crate) fn finish(mut self) -> Result<(u64, Vec<Effect>, Vec<Step>), StoreError> {
        self.queues.write(&mut self.rows)?;
        self.subs.write(&mut self.rows)?;
        self.consumers.write(&mut self.rows)?;
        self.producers.write(&mut self.rows)?;
        self.lanes.write(&mut self.rows)?;
        let touched = self.rows.touched();
        self.rows.finish()?;
        Ok((touched, self.effects, self.steps))
    }

    /// Carries out something that is refused as a whole: what it did until then is taken back.
    pub(crate) fn whole<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        self.rows.begin();
        self.queues.begin();
        self.subs.begin();
        self.consumers.begin();
        self.producers.begin();
        self.lanes.begin();
        let (effects, steps) = (self.effects.len(), self.steps.len());
        let done = work(self);
        if matches!(done, Err(Stop::Refused(_))) && !planted(Bug::TransactionHalf) {
            self.rows.take_back()?;
            self.queues.take_back();
            self.subs.take_back();
            self.consumers.take_back();
            self.producers.take_back();
            self.lanes.take_back();
            self.effects.truncate(effects);
            self.steps.truncate(steps);
        }
        self.rows.keep();
        self.queues.keep();
        self.subs.keep();
        self.consumers.keep();
        self.producers.keep();
        self.lanes.keep();
        done
    }

    /// How many more things that touch so many rows each the entry has room for, at least one.
    pub(crate) fn room(&self, rows_each: u64) -> u64 {
        self.budget.room(self.rows.touched(), rows_each)
    }

    /// Says what was done of what was left to do in a subscription.
    pub(crate) fn did(&mut self, kind: Kind, id: SubId, first: u64, end: u64) {
        let SubId { queue, sub } = id;
        self.steps.push(Step { time_ms: self.now_ms, kind, queue: queue.queue, sub, first, end });
    }

    /// Up to how many rows in all something may go on that is to touch so many in any case.
    pub(crate) fn until(&self, rows_min: u64) -> u64 {
        self.budget.rows_max.max(self.rows.touched() + rows_min)
    }

    /// The same, or as many as an entry may touch in all if that is less.
    pub(crate) fn until_at_least(&self, rows_min: u64) -> u64 {
        self.until(rows_min.min(self.budget.rows_max))
    }

    /// Whether the entry has done what it may: what is not begun is left to the next.
    pub(crate) fn is_full(&self) -> bool {
        self.rows.touched() >= self.budget.rows_max
    }

    /// Sets a row that is not kept decoded.
    pub(crate) fn put_message(&mut self, key: &Key, row: &impl Message) -> Result<(), StoreError> {
        self.rows.put(key, row.encode_to_vec().into())
    }

    /// Asks for an assignment after the entry.
    pub(crate) fn touch(&mut self, id: SubId) {
        self.dirty.insert(id);
    }

    /// The subscriptions to assign, in the order of their ids.
    pub(crate) fn take_dirty(&mut self) -> BTreeSet<SubId> {
        std::mem::take(&mut self.dirty)
    }

    /// The subscription of a queue that was found last to need a chunk; it may be gone.
    pub(crate) fn last_needed_by(&self, queue: QueueId) -> Option<SubId> {
        self.last_needed_by.filter(|sub| sub.queue == queue)
    }

    /// See [`Tx::last_needed_by`].
    pub(crate) fn needed_by(&mut self, sub: SubId) {
        self.last_needed_by = Some(sub);
    }

    pub(crate) fn find_queue(&mut self, id: QueueId) -> Result<&mut Option<Queue>, StoreError> {
        self.queues.load(&self.rows, id)
    }

    /// A queue that is known to exist.
    pub(crate) fn queue(&mut self, id: QueueId) -> Result<&mut Queue, StoreError> {
        self.find_queue(id)?.as_mut().ok_or_else(|| StoreError(format!("{id:?} has no row")))
    }

    pub(crate) fn find_sub(&mut self, id: SubId) -> Result<&mut Option<Sub>, StoreError> {
        self.subs.load(&self.rows, id)
    }

    /// A subscription that is known to exist.
    pub(crate) fn sub(&mut self, id: SubId) -> Result<&mut Sub, StoreError> {
        self.find_sub(id)?.as_mut().ok_or_else(|| StoreError(format!("{id:?} has no row")))
    }

    pub(crate) fn find_producer(&mut self, id: u64) -> Result<&mut Option<Producer>, StoreError> {
        self.producers.load(&self.rows, id)
    }

    /// The lane of a key; a new one if it has none.
    pub(crate) fn lane(&mut self, id: LaneId) -> Result<&mut Lane, StoreError> {
        Ok(self.lanes.load(&self.rows, id)?.get_or_insert_default())
    }

    /// A subscription's number is given up: what stands under it is swept, and must not be written any more.
    pub(crate) fn forget_lanes(&mut self, sub: SubId) {
        self.lanes.slots.retain(|id, _| id.sub != sub);
    }

    /// The subscription that has a seat.
    pub(crate) fn seated(&mut self, seat: SubId) -> Result<Option<SubId>, StoreError> {
        let Some(queue) = self.find_queue(seat.queue)? else { return Ok(None) };
        Ok(queue.seated(seat.sub).map(|sub| SubId { sub, ..seat }))
    }

    /// The subscription of a consumer, as it is numbered now; none if there is no such consumer, or its subscription was deleted.
    pub(crate) fn sub_of(&mut self, consumer: u64) -> Result<Option<SubId>, StoreError> {
        let Some(row) = self.consumers.load(&self.rows, consumer)? else { return Ok(None) };
        let (sub, seat) = (row.sub_id(), row.seat_id());
        match self.find_sub(sub)? {
            Some(_) => Ok(Some(sub)),
            None => self.seated(seat),
        }
    }

    /// A consumer, if it has not ended; its subscription may be gone.
    pub(crate) fn find_consumer(&mut self, id: u64) -> Result<Option<&Consumer>, StoreError> {
        Ok(self.consumers.load(&self.rows, id)?.as_ref())
    }

    /// A consumer whose row is known to be there; its subscription may be gone.
    pub(crate) fn consumer(&mut self, id: u64) -> Result<&Consumer, StoreError> {
        self.find_consumer(id)?.ok_or_else(|| StoreError(format!("consumer {id} has no row")))
    }

    /// Changes, adds or removes a consumer. The only way to: it keeps the index of who waits with credit left.
    pub(crate) fn set_consumer(
        &mut self,
        id: u64,
        change: impl FnOnce(&mut Option<Consumer>),
    ) -> Result<(), StoreError> {
        let waits = |row: &Option<Consumer>| row.as_ref().filter(|row| row.free() > 0).map(Consumer::sub_id);
        let row = self.consumers.load(&self.rows, id)?;
        let before = waits(row);
        change(row);
        let after = waits(row);
        if before == after {
            return Ok(());
        }
        // Whoever has not followed its subscription waits under a number that is not counted any more.
        if let Some(sub) = before {
            self.rows.remove(&key::waiting(sub, id), &[])?;
            if let Some(sub) = self.find_sub(sub)? {
                sub.waiting = sub.waiting.saturating_sub(1);
            }
        }
        if let Some(sub) = after {
            self.rows.insert(&key::waiting(sub, id), Bytes::new())?;
            if let Some(sub) = self.find_sub(sub)? {
                sub.waiting = sub.waiting.saturating_add(1);
            }
        }
        Ok(())
    }
}

/// A header row that is worth keeping decoded during an entry.
trait Header: Message + Default + Clone {
    type Id: Ord + Copy;
    fn key(id: Self::Id) -> Key;
    /// A row that says nothing is not kept.
    fn is_void(&self) -> bool {
        false
    }
}

impl Header for Queue {
    type Id = QueueId;
    fn key(id: QueueId) -> Key {
        key::queue(id)
    }
}

impl Header for Sub {
    type Id = SubId;
    fn key(id: SubId) -> Key {
        key::sub(id)
    }
}

impl Header for Consumer {
    type Id = u64;
    fn key(id: u64) -> Key {
        key::consumer(id)
    }
}

impl Header for Producer {
    type Id = u64;
    fn key(id: u64) -> Key {
        key::producer(id)
    }
}

impl Header for Lane {
    type Id = LaneId;
    fn key(id: LaneId) -> Key {
        key::lane(id.sub, id.lane)
    }

    fn is_void(&self) -> bool {
        Lane::is_void(self)
    }
}

struct Slots<T: Header> {
    slots: BTreeMap<T::Id, Slot<T>>,
    /// How the rows were that were touched since [`Slots::begin`].
    undo: Option<BTreeMap<T::Id, Option<T>>>,
}

struct Slot<T> {
    /// As the store has it.
    stored: Option<Bytes>,
    /// As it is now.
    row: Option<T>,
}

impl<T: Header> Slots<T> {
    fn new() -> Self {
        Self { slots: BTreeMap::new(), undo: None }
    }

    fn load(&mut self, rows: &impl Read, id: T::Id) -> Result<&mut Option<T>, StoreError> {
        use std::collections::btree_map::Entry;
        let row = match self.slots.entry(id) {
            Entry::Occupied(slot) => &mut slot.into_mut().row,
            Entry::Vacant(slot) => {
                let key = T::key(id);
                let stored = rows.get(&key)?;
                let row = stored.clone().map(|value| row::decode(&key, value)).transpose()?;
                &mut slot.insert(Slot { stored, row }).row
            }
        };
        if let Some(undo) = &mut self.undo {
            undo.entry(id).or_insert_with(|| row.clone());
        }
        Ok(row)
    }

    /// From now on changes can be taken back.
    fn begin(&mut self) {
        self.undo = Some(BTreeMap::new());
    }

    fn keep(&mut self) {
        self.undo = None;
    }

    fn take_back(&mut self) {
        for (id, row) in self.undo.take().into_iter().flatten() {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.row = row;
            }
        }
    }

    fn write<S: Store>(&mut self, rows: &mut Digested<'_, S>) -> Result<(), StoreError> {
        for (id, slot) in &self.slots {
            match (&slot.stored, slot.row.as_ref().filter(|row| !row.is_void())) {
                (old, Some(row)) => {
                    let new = Bytes::from(row.encode_to_vec());
                    if old.as_ref() != Some(&new) {
                        rows.replace(&T::key(*id), old.as_deref(), new)?;
                    }
                }
                (Some(old), None) => rows.remove(&T::key(*id), old)?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}
