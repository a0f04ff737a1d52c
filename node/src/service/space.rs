//! Whether there is room for something new, asked before it is proposed. What makes room is not asked: settling, purging,
//! deleting and detaching go on until the end. So that they can, nothing of a settle is kept but what became of its messages.

use quorate_machine::read;

use super::error::CommandError;
use super::settle::{Range, Reasons};
use super::{Context, Service};
use crate::shards::Shard;

impl Service {
    /// An error unless the shard, which is led here, has room for something new.
    pub(super) fn check_room(&self, shard: &Shard) -> Result<(), CommandError> {
        if !shard.leadership.borrow().mine {
            return Ok(()); // the proposal says who leads
        }
        let (me, _) = self.member()?;
        let (log, state) = (shard.replica.log(), shard.replica.state());
        Ok(self.admission().check_space(&me.name, log.room().tighter(state.room()))?)
    }

    /// For the reasons of failures that ranges give: a message may have kilobytes of them, so they are something new. Most settles give none,
    /// and nobody asks for room.
    pub(super) fn reasons<'a>(&self, shard: &Shard, mut ranges: impl Iterator<Item = &'a Range>) -> Reasons {
        Reasons::new(ranges.all(|range| range.reason.is_empty()) || self.check_room(shard).is_ok())
    }

    /// [`Self::check_room`] before a queue is made. What exists is answered as ever: whoever consumes may begin with making it.
    pub(super) fn check_room_for_queue(&self, context: &Context, name: &str) -> Result<(), CommandError> {
        let shard = self.shard(context)?;
        match read::queue(&shard.state().read(), context.namespace(), name) {
            Ok(_) => Ok(()),
            Err(_) => self.check_room(shard),
        }
    }

    /// [`Self::check_room`] before a subscription is made.
    pub(super) fn check_room_for_sub(
        &self,
        context: &Context,
        queue: &str,
        name: &str,
    ) -> Result<(), CommandError> {
        let shard = self.shard(context)?;
        match read::stat(&shard.state().read(), context.namespace(), queue, name) {
            Ok(_) => Ok(()),
            Err(_) => self.check_room(shard),
        }
    }
}
