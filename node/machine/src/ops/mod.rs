//! The verbs, one file each, of commands that are [`crate::lawful()`]. An operation checks everything before it writes anything, so that a refused
//! command changes nothing.

mod append;
mod attach;
mod close_producer;
mod create_queue;
pub(crate) mod create_sub;
mod credit;
mod delete_queue;
mod delete_sub;
mod detach;
mod garbage;
mod give_node_ids;
mod open_producer;
mod publish;
pub(crate) mod put;
mod raise_version;
mod ranges;
mod require;
mod reschedule;
mod seek;
mod settle;
mod tick;
mod transact;
mod unpark;
mod update_queue;
mod update_sub;

pub(crate) use attach::{attach, session_timeout_ms};
pub(crate) use close_producer::close_producer;
pub(crate) use create_queue::create_queue;
pub(crate) use create_sub::create_sub;
pub(crate) use credit::credit;
pub(crate) use delete_queue::delete_queue;
pub(crate) use delete_sub::delete_sub;
pub(crate) use detach::detach;
pub(crate) use give_node_ids::give_node_ids;
pub(crate) use open_producer::{open_producer, ttl_ms};
pub(crate) use publish::publish;
pub(crate) use raise_version::raise_version;
pub(crate) use ranges::Range;
pub(crate) use reschedule::reschedule;
pub(crate) use seek::{purge, seek};
pub(crate) use settle::settle;
pub(crate) use tick::tick;
pub(crate) use transact::transact;
pub(crate) use unpark::unpark;
pub(crate) use update_queue::update_queue;
pub(crate) use update_sub::{pause, update_sub};

use crate::reply::{Problem, Refusal, Reply};
use crate::store::StoreError;

/// Why an operation did not come to its end.
pub(crate) enum Stop {
    /// The command is refused and changed nothing.
    Refused(Refusal),
    /// The store failed; the process must not go on with it.
    Store(StoreError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

pub(crate) type Done = Result<Reply, Stop>;

/// A number with a default at zero and a range.
pub(crate) fn in_range(
    field: &'static str,
    given: u64,
    default: u64,
    min: u64,
    max: u64,
) -> Result<u64, Refusal> {
    match given {
        0 => Ok(default),
        given if (min..=max).contains(&given) => Ok(given),
        given => Err(Refusal::Invalid { field, problem: Problem::NotWithin { found: given, min, max } }),
    }
}
