//! openraft's wiring behind a face without generics.
//!
//! Whoever instantiates openraft compiles it, so it happens in this crate and nowhere else. The rest of the
//! node sees a [`Replica`]: propose an entry, pass a read barrier, know who leads. Towards the disk stands
//! `quorate-storage` ([`log_store`], [`state_machine`]), towards the other nodes the peer API of
//! `quorate-proto` ([`network`] out, [`service`] in, [`snapshot`] both ways).

mod account;
mod agreement;
mod ending;
mod failover;
mod formation;
mod gate;
mod health;
mod joining;
mod log_store;
mod membership;
mod network;
pub mod peers;
mod progress;
mod replica;
mod reports;
mod resets;
mod responder;
mod retention;
pub mod service;
mod settings;
mod snapshot;
mod standing;
mod state_machine;
pub mod transport;
pub mod types;
mod unanswered;
mod under_way;

pub use account::{ReplicaStatus, ask_for_account};
pub use ending::{End, Ending};
pub use formation::{Formation, FormationError, Founding, hex};
pub use gate::Gate;
pub use joining::{Joiner, Refused, TakenIn};
pub use log_store::LogStore;
pub use membership::{Member, Membership, NotChanged};
pub use replica::{Leadership, NotDone, Parts, Replica};
pub use reports::{Short, Shortage};
pub use settings::Settings;
pub use standing::Report;
pub use state_machine::{Received, SnapshotData, StateMachine};

pub(crate) type Raft = openraft::Raft<types::Types, StateMachine>;

/// What the shell is told of an applied entry.
#[derive(Debug)]
pub struct Applied {
    /// Index of the entry.
    pub index: u64,
    /// What the leader's shell has to do.
    pub effects: Vec<quorate_machine::effect::Effect>,
    /// When the next tick is due, by replicated time.
    pub next_deadline_ms: Option<u64>,
}

/// The replica cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Settings that contradict each other.
    #[error("the raft settings are not usable: {0}")]
    Settings(String),
    /// The state is of a version that this program cannot read.
    #[error(
        "the state is of version {active} and this program reads up to version {reads_to}: run a newer program"
    )]
    NewerState {
        /// The active version in it.
        active: u32,
        /// The newest that is read.
        reads_to: u32,
    },
    /// What the disk has kept is not what was written.
    #[error(transparent)]
    Damaged(quorate_storage::Error),
    /// The replica has stopped.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
}
