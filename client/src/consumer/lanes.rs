//! Which messages wait until the work on one before them is over.

use std::sync::Arc;

use bytes::Bytes;

use super::leases::Shared;

/// In order `total` all messages are in one lane, in order `key` those of a key. A consumer hands out nothing of a lane that is occupied.
#[derive(Clone)]
pub(crate) struct Lanes(Arc<Shared>);

impl Lanes {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Occupies the lane of a message with this key, until [`Lanes::vacate`]; `None` if nothing has to wait for it.
    pub(crate) fn occupy(&self, key: &Bytes) -> Option<Bytes> {
        self.0.occupy(key)
    }

    pub(crate) fn vacate(&self, lane: &Bytes) {
        self.0.vacate(lane);
    }

    /// Whether the lease is known to be lost.
    pub(crate) fn is_lost(&self, token: u64) -> bool {
        self.0.is_lost(token)
    }
}
