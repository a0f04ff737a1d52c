//! What the leader's shell has to do after an entry. Effects are data: followers drop them, and a new leader
//! gets them again from the state when consumers resume their sessions.

/// Stands for a key of the state in [`Effect::StateChanged`]. Who waits for another key of the same hash looks once too often.
pub fn key_hash(key: &str) -> u64 {
    twox_hash::XxHash3_64::oneshot(key.as_bytes())
}

/// `count` consecutive messages leased to one consumer with consecutive tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    /// Namespace of the queue.
    pub namespace: u32,
    /// The queue.
    pub queue: u64,
    /// Position of the first message.
    pub first_position: u64,
    /// How many.
    pub count: u32,
    /// Token of the first message; the others follow.
    pub first_token: u64,
    /// 1 for the first delivery.
    pub attempt: u32,
    /// When the leases end, by replicated time.
    pub deadline_ms: u64,
}

/// One thing to do. Only the leader's shell acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// The session was attached: whether or not its stream ever opens, it must end some day.
    Attached {
        /// The consumer session.
        consumer: u64,
        /// What its next [`crate::command::Detach`] has to say.
        generation: u64,
        /// How long the session outlives its stream, in milliseconds.
        session_timeout_ms: u64,
    },
    /// Send these messages to the consumer.
    Assigned {
        /// The consumer session.
        consumer: u64,
        /// What it now holds.
        lease: Lease,
    },
    /// Tell the consumer that it no longer holds these, through no settle of its own.
    Revoked {
        /// The consumer session.
        consumer: u64,
        /// What it lost.
        lease: Lease,
    },
    /// A key of the state was written, deleted, or has expired: tell who waits for that.
    StateChanged {
        /// The namespace.
        namespace: u32,
        /// [`key_hash`] of the key.
        key: u64,
    },
    /// The session is over: close its stream.
    Ended {
        /// The consumer session.
        consumer: u64,
    },
}
