//! Whether there is room for something new, asked before it is proposed. What makes room is not asked: settling, purging,
//! deleting and detaching go on until the end. So that they can, nothing of a settle is kept but what became of its messages.

use quorate_machine::read;
use quorate_proto::v1;

use super::Api;
use super::convert::Reasons;
use super::error::Failure;
use crate::shard::Shard;

impl Api {
    /// An error unless the shard, which is led here, has room for something new.
    pub(super) fn check_room(&self, shard: &Shard) -> Result<(), Failure> {
        if !shard.leadership.borrow().mine {
            return Ok(()); // the proposal says who leads
        }
        let (log, state) = (shard.replica.log(), shard.replica.state());
        self.0.admission.check_space(&self.me()?.name, log.room().tighter(state.room()))
    }

    /// For the reasons of failures that ranges give: a message may have kilobytes of them, so they are something new. Most settles give none,
    /// and nobody asks for room.
    pub(super) fn reasons<'a>(
        &self,
        shard: &Shard,
        mut ranges: impl Iterator<Item = &'a v1::SettleRange>,
    ) -> Reasons {
        Reasons::new(ranges.all(|range| range.reason.is_empty()) || self.check_room(shard).is_ok())
    }

    /// [`Self::check_room`] before a queue is made. What exists is answered as ever: whoever consumes may begin with making it.
    pub(super) fn check_room_for_queue(&self, namespace: &str, name: &str) -> Result<(), Failure> {
        let shard = self.shard_of(namespace)?;
        match read::queue(&shard.state().read(), namespace, name) {
            Ok(_) => Ok(()),
            Err(_) => self.check_room(shard),
        }
    }

    /// [`Self::check_room`] before a subscription is made.
    pub(super) fn check_room_for_sub(&self, namespace: &str, queue: &str, name: &str) -> Result<(), Failure> {
        let shard = self.shard_of(namespace)?;
        match read::stat(&shard.state().read(), namespace, queue, name) {
            Ok(_) => Ok(()),
            Err(_) => self.check_room(shard),
        }
    }
}
