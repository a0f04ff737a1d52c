//! The requirements of a transaction.

use super::transact::not_held;
use super::{Stop, put};
use crate::command::{
    Condition, LeaseRange, Require, RequireLengthBelow, RequireTail, RequireVersion, Transact,
};
use crate::names::{self, StateKey};
use crate::reply::{Found, Part, Refusal};
use crate::store::Store;
use crate::tx::Tx;

/// Refuses the transaction if the requirement does not hold, with what is the case instead.
pub(super) fn require<S: Store>(
    tx: &mut Tx<'_, S>,
    command: &Transact,
    nth: u32,
    require: &Require,
) -> Result<(), Stop> {
    let queue = |tx: &Tx<'_, S>, name: &str| names::queue(&tx.rows, &command.namespace, name);
    let found = match &require.condition {
        None => {
            let problem = "a requirement has no condition that this version knows";
            return Err(Refusal::Invalid { field: "require", problem: problem.into() }.into());
        }
        Some(Condition::Version(RequireVersion { key, version })) => {
            let namespace = names::namespace(&command.namespace)?;
            let found = put::version(tx, namespace, StateKey::of(key)?)?;
            (found != *version).then_some(Found::Version(found))
        }
        Some(Condition::Tail(RequireTail { queue: name, position })) => {
            let id = queue(tx, name)?;
            let last = tx.queue(id)?.next_position - 1;
            (last != *position).then_some(Found::Tail(last))
        }
        Some(Condition::LengthBelow(RequireLengthBelow { queue: name, subscription, length })) => {
            let id = queue(tx, name)?;
            let sub = names::sub(&tx.rows, id, subscription)?;
            let tail = tx.queue(id)?.next_position;
            let found = tx.sub(sub)?.length(tail);
            (found >= *length).then_some(Found::Length(found))
        }
        Some(Condition::Held(leases)) => {
            let LeaseRange { queue: name, subscription, .. } = leases;
            let id = queue(tx, name)?;
            let sub = names::sub(&tx.rows, id, subscription)?;
            not_held(tx, sub, leases)?.map(Found::NotHeld)
        }
    };
    match found {
        None => Ok(()),
        Some(found) => Err(Refusal::PreconditionFailed { part: Part::Require, nth, found }.into()),
    }
}
