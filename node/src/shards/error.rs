//! Why a shard did not do what it was asked for.

/// This node cannot carry out a request at this time. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// Another node leads the shard.
    NotLeader {
        /// Its name.
        name: String,
        /// `host:port` of its client API.
        client_addr: String,
    },
    /// No leader is known, or it hears from no majority.
    NoQuorum,
    /// The node is not part of a cluster yet.
    Forming,
    /// The node is about to stop.
    ShuttingDown,
}

/// Why a proposal or a look at the state came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardError {
    /// Not here, or not now.
    Unavailable(Unavailable),
    /// It was proposed, and leadership was lost before the answer: it may be carried out, or not.
    Unknown,
    /// A fault of the node.
    Internal(String),
}

impl From<Unavailable> for ShardError {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why)
    }
}

impl From<quorate_machine::store::StoreError> for ShardError {
    fn from(e: quorate_machine::store::StoreError) -> Self {
        Self::Internal(e.to_string())
    }
}
