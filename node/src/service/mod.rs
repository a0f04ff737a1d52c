//! What a node can be asked, in plain Rust: no protocol is known here, and none of its types. The edges translate.
//!
//! Everything begins with [`Service::admit`], which says who may do what and where: the [`Context`] that it returns is needed for all
//! else. Sessions are functions from a stream of requests to a stream of answers ([`produce`], [`consume`]).

pub mod admission;
pub mod cluster;
pub mod consume;
mod context;
pub mod describe;
pub mod error;
pub mod kv;
pub mod produce;
pub mod queues;
pub mod read;
pub mod reason;
mod sequence;
pub mod settle;
mod space;
mod subscriptions;
pub mod transactions;

use std::sync::{Arc, OnceLock};

use quorate_machine::command::{Ask, Measured, Verb};
use quorate_machine::lawful;
use quorate_machine::read::ReadError;
use quorate_machine::reply::Refusal;
use quorate_raft::peers::Me;
use quorate_raft::transport::Transport;
use quorate_simpoint::{Bug, planted};
use quorate_storage::state::StateReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::Members;
use crate::shards::proposal::{self, Pending, Room};
use crate::shards::{Shard, Shards};
use admission::Admission;
use error::{CommandError, QueryError, Unavailable};

pub use context::{Context, Principal};

/// What a node can be asked. Before the node is a member there is no shard, and every request is refused. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<Shared>);

struct Shared {
    /// This node as a member.
    member: OnceLock<(Me, Members)>,
    shards: Shards,
    transport: Arc<dyn Transport>,
    admission: Admission,
    stopping: CancellationToken,
    /// Owns the tasks of open streams.
    streams: TaskTracker,
}

/// Why a stream of answers ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended<P, E> {
    /// The service ended it.
    Service(P),
    /// The stream of requests ended with this.
    Requests(E),
}

impl<P, E> From<P> for Ended<P, E> {
    fn from(why: P) -> Self {
        Self::Service(why)
    }
}

impl Service {
    /// A service without a shard yet. `stopping` sends open streams elsewhere.
    pub fn new(transport: Arc<dyn Transport>, admission: Admission, stopping: CancellationToken) -> Self {
        let (member, shards, streams) = (OnceLock::new(), Shards::default(), TaskTracker::new());
        Self(Arc::new(Shared { member, shards, transport, admission, stopping, streams }))
    }

    /// What keeps the node within its bounds.
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// Whether the node is a member with a recovered state.
    pub fn is_member(&self) -> bool {
        self.0.member.get().is_some()
    }

    /// Whether somebody leads, as far as this node knows.
    pub fn knows_leader(&self) -> bool {
        let shard = self.0.shards.get(crate::shards::FIRST);
        shard.is_some_and(|shard| shard.leadership.borrow().leader.is_some())
    }

    /// Whether the node is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.is_cancelled()
    }

    /// Waits for the tasks of all streams; they end once the node is stopping.
    pub async fn join(&self) {
        self.0.streams.close();
        self.0.streams.wait().await;
    }

    /// From now on this member and its shard are served; a second call changes nothing.
    pub fn serve(&self, me: Me, members: Members, shard: Shard) {
        self.0.shards.serve(shard);
        let _ = self.0.member.set((me, members));
    }

    /// Admits a request to a namespace; none named means the one called `default`.
    ///
    /// # Errors
    /// The node is stopping, or no member yet.
    pub fn admit(&self, principal: Principal, namespace: String) -> Result<Context, Unavailable> {
        if self.is_stopping() {
            return Err(Unavailable::ShuttingDown);
        }
        let namespace = or_default(namespace);
        let shard = self.0.shards.of(&namespace);
        self.0.shards.get(shard).ok_or(Unavailable::Forming)?;
        Ok(Context::new(principal, namespace, shard))
    }

    fn shard(&self, context: &Context) -> Result<&Shard, Unavailable> {
        self.0.shards.get(context.shard()).ok_or(Unavailable::Forming)
    }

    fn member(&self) -> Result<&(Me, Members), Unavailable> {
        self.0.member.get().ok_or(Unavailable::Forming)
    }

    /// Proposes a command and waits for its reply.
    async fn propose<C: Ask>(&self, context: &Context, command: C) -> Result<C::Reply, CommandError> {
        let command = check(command.into())?;
        let room = self.0.admission.command_room(cost(&command)).await?;
        self.propose_with::<C>(context, command, room).await
    }

    /// The same of a command that was checked. `room` is what its bytes are counted against.
    async fn propose_with<C: Ask>(
        &self,
        context: &Context,
        command: Measured,
        room: Room,
    ) -> Result<C::Reply, CommandError> {
        let shard = self.shard(context)?;
        if let Some(refusal) = shard.foresee(&command).await? {
            return Err(refusal.into());
        }
        let pending = shard.take(command, room).await?;
        reply::<C>(shard, pending.answer().await)
    }

    /// Takes a command without messages into the order of commands.
    async fn submit(&self, shard: &Shard, command: impl Into<Verb>) -> Result<Pending, CommandError> {
        let command = check(command.into())?;
        let room = self.0.admission.command_room(cost(&command)).await?;
        Ok(shard.take(command, room).await?)
    }

    /// Looks at the state, linearizably. Comes with the index of the entry whose state it was.
    async fn query<T>(
        &self,
        context: &Context,
        look: impl FnOnce(&StateReader<'_>) -> Result<T, ReadError>,
    ) -> Result<(T, u64), QueryError> {
        let (found, applied_index) = self.shard(context)?.read(look).await?;
        Ok((found?, applied_index))
    }
}

/// Looks at a command that a client sent, before anything is done for it: what is unlawful or too long costs no entry.
fn check(verb: Verb) -> Result<Measured, Refusal> {
    if !planted(Bug::CheckSkipped) {
        lawful(&verb)?;
    }
    Measured::of(verb)
}

/// What a command without messages takes until it is answered, in bytes: encoded, and taken apart.
fn cost(command: &Measured) -> usize {
    const PART_BYTES: usize = 128;
    let parts = match command.verb() {
        Some(Verb::Settle(settle)) => settle.ranges.len() + settle.reasons.len(),
        _ => 1,
    };
    command.bytes() + parts * PART_BYTES
}

/// The reply of a command in the answer to it.
fn reply<C: Ask>(shard: &Shard, answer: proposal::Answer) -> Result<C::Reply, CommandError> {
    let reply = answer.map_err(|e| shard.not_done(e))??;
    C::reply(reply).ok_or_else(|| CommandError::Internal("the reply of another command".into()))
}

/// A count from a request: 0 means the default, and more than the most is refused.
fn bounded(field: &'static str, given: u32, default: u32, most: u32) -> Result<u32, Refusal> {
    Refusal::unless_at_most(field, given, most, "")?;
    Ok(if given == 0 { default } else { given })
}

/// The namespace or subscription that is meant: none named means the one called `default`.
fn or_default(name: String) -> String {
    if name.is_empty() { "default".into() } else { name }
}
