//! Ending a consumer session. What it held is ready again in its place, without an attempt counted.

use super::Done;
use super::credit::current;
use super::delete_queue::forget_consumer;
use crate::command::Detach;
use crate::effect::Effect;
use crate::reply::Reply;
use crate::store::Store;
use crate::subs::leaving;
use crate::tx::Tx;

pub(crate) fn detach<S: Store>(tx: &mut Tx<'_, S>, command: Detach) -> Done {
    let sub = current(tx, command.consumer, command.generation)?;
    leaving::begin(tx, sub, command.consumer)?;
    forget_consumer(tx, sub, command.consumer)?;
    tx.effects.push(Effect::Ended { consumer: command.consumer });
    tx.touch(sub);
    Ok(Reply::Done)
}
