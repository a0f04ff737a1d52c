//! What an entry of the log holds: a batch of commands, stamped with the leader's time.
//!
//! The encoding is protobuf, written by prost from the types below: fields are found by their tags, and byte fields of a
//! decoded batch are slices of the entry. Tags are frozen. Prost skips unknown ones, so what is added belongs to a new version:
//! see [`crate::versions`].

use bytes::Bytes;

mod ask;
mod consumer;
mod message;
mod producer;
mod queue;
mod size;
mod subscription;
mod transact;

pub use ask::Ask;
pub use consumer::{Attach, Credit, Detach, Outcome, Settle, SettleRange};
pub use message::{Action, Reschedule, Selector, Unpark};
pub use producer::{CloseProducer, OpenProducer, Publish};
pub use queue::{CreateQueue, DeleteQueue, OnFull, Purge, QueueSettings, Retain, UpdateQueue};
pub use size::Measured;
pub use subscription::{
    CreateSub, DeleteSub, Filter, OnExhausted, Order, Pause, Seek, Settings, Start, StartKind, UpdateSub,
};

pub use transact::{
    Condition, LeaseRange, PublishTo, Put, Require, RequireLengthBelow, RequireTail, RequireVersion,
    SettleLease, Transact,
};

/// One entry of the log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// Which version it takes to read it. The first field, also in time to come: see [`crate::versions::of_entry`].
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    /// The leader's clock when it proposed the entry, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub time_ms: u64,
    /// Applied in this order; each one takes effect whole or not at all.
    #[prost(message, repeated, tag = "3")]
    pub commands: Vec<Command>,
}

impl From<Verb> for Command {
    fn from(verb: Verb) -> Self {
        Self { verb: Some(verb) }
    }
}

impl Batch {
    /// A batch of the newest version that this program writes. A leader writes what is active.
    pub fn new(time_ms: u64, commands: Vec<Command>) -> Self {
        Self { format_version: crate::FORMAT_VERSION, time_ms, commands }
    }

    /// The bytes of the entry. Done once, on the leader: network, log and apply share them.
    pub fn encode(&self) -> Bytes {
        prost::Message::encode_to_vec(self).into()
    }
}

/// One change of the state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    /// What to do. A batch with a verb that is not known cannot be read.
    #[prost(
        oneof = "Verb",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22"
    )]
    pub verb: Option<Verb>,
}

/// The verbs; each is carried out by the file of its name in `ops/`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Verb {
    /// Creates a queue.
    #[prost(message, tag = "1")]
    CreateQueue(CreateQueue),
    /// Deletes a queue and what it holds.
    #[prost(message, tag = "2")]
    DeleteQueue(DeleteQueue),
    /// Opens or resumes a producer session, fencing its former holder.
    #[prost(message, tag = "3")]
    OpenProducer(OpenProducer),
    /// Ends a producer session.
    #[prost(message, tag = "4")]
    CloseProducer(CloseProducer),
    /// Appends messages to a queue.
    #[prost(message, tag = "5")]
    Publish(Publish),
    /// Opens or resumes a consumer session.
    #[prost(message, tag = "6")]
    Attach(Attach),
    /// Replaces a consumer's credit.
    #[prost(message, tag = "7")]
    Credit(Credit),
    /// Ends a consumer session and releases its leases.
    #[prost(message, tag = "8")]
    Detach(Detach),
    /// Acknowledges, returns or extends leases.
    #[prost(message, tag = "9")]
    Settle(Settle),
    /// Lets time pass: expires leases, readies retries, forgets idle sessions.
    #[prost(message, tag = "10")]
    Tick(Tick),
    /// Gives out ids for new members.
    #[prost(message, tag = "11")]
    GiveNodeIds(GiveNodeIds),
    /// Changes a queue's settings.
    #[prost(message, tag = "12")]
    UpdateQueue(UpdateQueue),
    /// Takes out of a queue what nobody holds.
    #[prost(message, tag = "13")]
    Purge(Purge),
    /// Adds a subscription to a queue.
    #[prost(message, tag = "14")]
    CreateSub(CreateSub),
    /// Changes a subscription's settings.
    #[prost(message, tag = "15")]
    UpdateSub(UpdateSub),
    /// Deletes a subscription and its progress.
    #[prost(message, tag = "16")]
    DeleteSub(DeleteSub),
    /// Pauses or resumes a subscription.
    #[prost(message, tag = "17")]
    Pause(Pause),
    /// Moves a subscription to another position.
    #[prost(message, tag = "18")]
    Seek(Seek),
    /// Cancels a delayed message, or delays it until another time.
    #[prost(message, tag = "19")]
    Reschedule(Reschedule),
    /// Redrives or discards parked messages.
    #[prost(message, tag = "20")]
    Unpark(Unpark),
    /// Settles, publishes and writes state, all or nothing.
    #[prost(message, tag = "21")]
    Transact(Transact),
    /// Lets leaders write a later version.
    #[prost(message, tag = "22")]
    RaiseVersion(RaiseVersion),
}

/// See [`Verb::Tick`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Tick {}

/// See [`Verb::GiveNodeIds`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GiveNodeIds {
    /// The highest id among the members: the first ones got theirs before there was a log.
    #[prost(uint64, tag = "1")]
    pub above: u64,
    /// How many; with 0 only `above` is noted.
    #[prost(uint64, tag = "2")]
    pub count: u64,
}

/// See [`Verb::RaiseVersion`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RaiseVersion {
    /// The version that is active from then on, if it is above the one that is.
    #[prost(uint32, tag = "1")]
    pub to: u32,
}
