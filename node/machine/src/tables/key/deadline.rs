//! Keys of what falls due: see [`Table::Deadline`].

use super::{Key, QueueId, SubId};
use crate::names::StateKey;
use crate::store::StoreError;
use crate::tables::Table;

/// Kinds of deadlines; the second field of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Due {
    Lease = 1,
    Retry = 2,
    IdleProducer = 3,
    Delay = 4,
    Expiry = 5,
    Job = 6,
    Retain = 7,
    State = 8,
}

pub(crate) fn deadline_job(time_ms: u64, job: u64) -> Key {
    Key::table(Table::Deadline).u64(time_ms).u8(Due::Job as u8).u64(job)
}

pub(crate) fn deadline_expiry(time_ms: u64, id: QueueId, first_position: u64) -> Key {
    Key::table(Table::Deadline).u64(time_ms).u8(Due::Expiry as u8).queue(id).u64(first_position)
}

pub(crate) fn deadline_retain(time_ms: u64, id: QueueId) -> Key {
    Key::table(Table::Deadline).u64(time_ms).u8(Due::Retain as u8).queue(id)
}

pub(crate) fn deadline_run(time_ms: u64, due: Due, id: SubId, first_position: u64) -> Key {
    Key::table(Table::Deadline).u64(time_ms).u8(due as u8).sub(id).u64(first_position)
}

pub(crate) fn deadline_producer(time_ms: u64, producer: u64) -> Key {
    Key::table(Table::Deadline).u64(time_ms).u8(Due::IdleProducer as u8).u64(producer)
}

/// Time and kind of a key of [`Table::Deadline`]; no kind if it is not known.
pub(crate) fn deadline(key: &[u8]) -> Result<(u64, Option<Due>), StoreError> {
    let short = || StoreError("a deadline's key is too short".into());
    let time = key.get(1..9).and_then(|time| time.try_into().ok()).ok_or_else(short)?;
    let due = match *key.get(9).ok_or_else(short)? {
        1 => Some(Due::Lease),
        2 => Some(Due::Retry),
        3 => Some(Due::IdleProducer),
        4 => Some(Due::Delay),
        5 => Some(Due::Expiry),
        6 => Some(Due::Job),
        7 => Some(Due::Retain),
        8 => Some(Due::State),
        _ => None,
    };
    Ok((u64::from_be_bytes(time), due))
}

pub(crate) fn deadline_state(time_ms: u64, namespace: u32, key: StateKey<'_>) -> Key {
    let of_kind = Key::table(Table::Deadline).u64(time_ms).u8(Due::State as u8);
    of_kind.u32(namespace).raw(key.as_str().as_bytes())
}

/// Namespace and key that a [`deadline_state`] is about.
pub(crate) fn of_deadline_state(row: &[u8]) -> Result<(u32, String), StoreError> {
    let unreadable = || StoreError("the deadline of a key of the state cannot be read".into());
    let (namespace, key) = row.get(10..).and_then(<[u8]>::split_first_chunk).ok_or_else(unreadable)?;
    let key = String::from_utf8(key.to_vec()).map_err(|_| unreadable())?;
    Ok((u32::from_be_bytes(*namespace), key))
}
