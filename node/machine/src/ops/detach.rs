//! Ending a consumer session. What it held is ready again in its place, without an attempt counted.

use super::Done;
use super::credit::current;
use super::delete_queue::forget_consumer;
use crate::command::Detach;
use crate::effect::Effect;
use crate::reply::Reply;
use crate::store::Store;
use crate::subs::back::{Behind, go_back};
use crate::subs::runs::{self, State};
use crate::tx::Tx;

pub(crate) fn detach<S: Store>(tx: &mut Tx<'_, S>, command: Detach) -> Done {
    let sub = current(tx, command.consumer, command.generation)?;
    for run in runs::held(&tx.rows, sub, command.consumer, 0, u64::MAX)? {
        let part = runs::take(tx, sub, &run, run.first, run.end())?;
        // Nobody else holds anything behind it.
        go_back(tx, sub, part, State::Ready, &mut Behind::default())?;
    }
    forget_consumer(tx, sub, command.consumer)?;
    tx.effects.push(Effect::Ended { consumer: command.consumer });
    tx.touch(sub);
    Ok(Reply::Done)
}
