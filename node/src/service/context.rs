//! On whose behalf something is done, and where.

use crate::shards::ShardId;

/// Who asks. There are no users yet: whoever reaches a node may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular.
    Anyone,
}

/// What every operation needs: who asks, in which namespace, and which shard holds it. Only
/// [`Service::admit`](super::Service::admit) makes one, so that nothing is done for whoever was not admitted.
#[derive(Debug, Clone)]
pub struct Context {
    principal: Principal,
    namespace: String,
    shard: ShardId,
}

impl Context {
    pub(super) fn new(principal: Principal, namespace: String, shard: ShardId) -> Self {
        Self { principal, namespace, shard }
    }

    /// Who asks.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The shard that holds it.
    pub fn shard(&self) -> ShardId {
        self.shard
    }
}
