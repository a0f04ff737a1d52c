//! Ending a consumer session. What it held is ready again in its place, without an attempt counted.

use super::Done;
use super::credit::current;
use crate::command::Detach;
use crate::effect::Effect;
use crate::reply::Reply;
use crate::store::Store;
use crate::subs::{following, leaving};
use crate::tx::Tx;

pub(crate) fn detach<S: Store>(tx: &mut Tx<'_, S>, command: Detach) -> Done {
    let sub = current(tx, command.consumer, command.generation)?;
    leaving::begin(tx, sub, command.consumer)?;
    following::forget(tx, command.consumer)?;
    tx.effects.push(Effect::Ended { consumer: command.consumer });
    tx.touch(sub);
    Ok(Reply::Done)
}
