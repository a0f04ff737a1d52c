//! The shards that this node serves: each is one Raft group and what runs on its leader.

pub mod delivery;
pub mod error;
pub mod proposal;
mod shard;

use std::sync::OnceLock;

pub use shard::Shard;

/// Names a shard.
pub type ShardId = u32;

/// The only shard so far; it will hold the catalogue.
pub const FIRST: ShardId = 0;

/// Which shards are served here, by their ids.
#[derive(Default)]
pub struct Shards {
    first: OnceLock<Shard>,
}

impl Shards {
    /// From now on this shard is served; a second call for the same id changes nothing.
    pub fn serve(&self, shard: Shard) {
        let _ = self.first.set(shard);
    }

    /// The shard of that id, if it is served here.
    pub fn get(&self, id: ShardId) -> Option<&Shard> {
        self.first.get().filter(|_| id == FIRST)
    }

    /// The shard that holds a namespace. There is one shard so far; the catalogue will tell.
    pub fn of(&self, _namespace: &str) -> ShardId {
        FIRST
    }
}
