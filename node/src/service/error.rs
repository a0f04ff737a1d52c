//! Why what a node was asked for was not done: one type for each kind of operation, its facts as fields. No protocol is
//! known here; [`super::describe`] says what each means to a client.

use quorate_machine::reply::Refusal;
use quorate_machine::store::StoreError;
use quorate_raft::{NotChanged, Shortage};
use quorate_storage::space::Room;

use crate::cluster::{RaiseError, RemoveError};
use crate::shards::error::ShardError;

pub use crate::shards::error::Unavailable;

/// Which bound on a node's memory is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// As much waits to be admitted as may.
    Waiting,
    /// As many wait for changes of keys as may.
    Watches,
    /// As many changes of the members wait as may.
    MemberChanges,
    /// A consumer does not read what it was sent.
    FellBehind,
}

/// New bytes are refused, because a disk is nearly full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoSpace {
    /// Too few of the voters have more than their reserve.
    Voters(Shortage),
    /// The leader has less room than what was admitted takes.
    Leader {
        /// Its name.
        node: String,
        /// Its room.
        room: Room,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// The command is wrong, or the state does not permit it.
    Refused(Refusal),
    /// Not here, or not now.
    Unavailable(Unavailable),
    /// It would store something, and there is no room.
    NoSpace(NoSpace),
    /// The node has no memory for it.
    Overload(Overload),
    /// It was proposed, and leadership was lost before the answer: it may be carried out, or not.
    Unknown,
    /// A fault of the node.
    Internal(String),
}

/// Why a question was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// The question is wrong, or what it asks for does not exist.
    Refused(Refusal),
    /// Not here, or not now.
    Unavailable(Unavailable),
    /// The node has no memory for it.
    Overload(Overload),
    /// A fault of the node.
    Internal(String),
}

/// Why a consumer's stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumeError {
    /// A command of it was not carried out.
    Command(CommandError),
    /// Another stream attached the session.
    Superseded,
    /// The session ended: its queue was deleted, or it was detached elsewhere.
    SessionEnded,
}

/// Why a member was not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoveMemberError {
    /// The membership does not permit it.
    Refused(RemoveError),
    /// Not here, or not now.
    Unavailable(Unavailable),
    /// Another change of the members is under way, or too many wait.
    Busy(String),
    /// It may take effect, or not.
    Unknown,
}

/// Why the active version was not raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RaiseVersionError {
    /// A member does not read it.
    Refused(RaiseError),
    /// Not here, or not now.
    Unavailable(Unavailable),
    /// Another change of the members is under way, or too many wait.
    Busy(String),
    /// It may take effect, or not.
    Unknown,
}

impl From<QueryError> for CommandError {
    fn from(e: QueryError) -> Self {
        match e {
            QueryError::Refused(refusal) => Self::Refused(refusal),
            QueryError::Unavailable(why) => Self::Unavailable(why),
            QueryError::Overload(which) => Self::Overload(which),
            QueryError::Internal(what) => Self::Internal(what),
        }
    }
}

impl From<CommandError> for ConsumeError {
    fn from(e: CommandError) -> Self {
        Self::Command(e)
    }
}

impl From<Unavailable> for ConsumeError {
    fn from(why: Unavailable) -> Self {
        Self::Command(why.into())
    }
}

macro_rules! from {
    ($($error:ident: $($variant:ident($of:ty)),*;)*) => {
        $($(impl From<$of> for $error {
            fn from(facts: $of) -> Self {
                Self::$variant(facts)
            }
        })*)*
    };
}

from! {
    CommandError: Refused(Refusal), Unavailable(Unavailable), NoSpace(NoSpace), Overload(Overload);
    QueryError: Refused(Refusal), Unavailable(Unavailable), Overload(Overload);
    RemoveMemberError: Unavailable(Unavailable);
    RaiseVersionError: Unavailable(Unavailable);
}

impl From<ShardError> for CommandError {
    fn from(e: ShardError) -> Self {
        match e {
            ShardError::Unavailable(why) => Self::Unavailable(why),
            ShardError::Unknown => Self::Unknown,
            ShardError::Internal(what) => Self::Internal(what),
        }
    }
}

impl From<ShardError> for QueryError {
    fn from(e: ShardError) -> Self {
        match e {
            ShardError::Unavailable(why) => Self::Unavailable(why),
            ShardError::Unknown => Self::Unavailable(Unavailable::NoQuorum), // a look changes nothing
            ShardError::Internal(what) => Self::Internal(what),
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(e: StoreError) -> Self {
        Self::Internal(e.to_string())
    }
}

impl From<StoreError> for QueryError {
    fn from(e: StoreError) -> Self {
        Self::Internal(e.to_string())
    }
}

impl From<quorate_machine::read::ReadError> for QueryError {
    fn from(e: quorate_machine::read::ReadError) -> Self {
        match e {
            quorate_machine::read::ReadError::Refused(refusal) => Self::Refused(refusal),
            quorate_machine::read::ReadError::Store(e) => e.into(),
        }
    }
}

impl RemoveMemberError {
    /// What a change of the members says, where `leads` names the leader.
    pub fn of(e: RemoveError, leads: impl FnOnce(Option<u64>) -> Unavailable) -> Self {
        match e {
            RemoveError::UnknownMember(_) | RemoveError::Last(_) | RemoveError::QuorumAtRisk { .. } => {
                Self::Refused(e)
            }
            RemoveError::Overloaded | RemoveError::NotChanged(NotChanged::Busy(_)) => {
                Self::Busy(e.to_string())
            }
            RemoveError::NotChanged(NotChanged::NotLeader { leader }) => Self::Unavailable(leads(leader)),
            RemoveError::NotChanged(NotChanged::Unknown) => Self::Unknown,
        }
    }
}

impl RaiseVersionError {
    /// What a change of the version says, where `leads` names the leader.
    pub fn of(e: RaiseError, leads: impl FnOnce(Option<u64>) -> Unavailable) -> Self {
        match e {
            RaiseError::NotRead { .. } | RaiseError::Silent { .. } => Self::Refused(e),
            RaiseError::Overloaded | RaiseError::NotChanged(NotChanged::Busy(_)) => Self::Busy(e.to_string()),
            RaiseError::NotChanged(NotChanged::NotLeader { leader }) => Self::Unavailable(leads(leader)),
            RaiseError::NotChanged(NotChanged::Unknown) => Self::Unknown,
        }
    }
}
