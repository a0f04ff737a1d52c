//! Letting go of a member.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_raft::{Membership, NotChanged};
use tokio::sync::oneshot;

use super::{Members, Task};

/// How long a leader that is to be removed waits for another to take over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);

/// A removal that was asked for.
pub struct Removal {
    pub(super) name: String,
    pub(super) answer: oneshot::Sender<Result<(), RemoveError>>,
}

/// Why a member was not removed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum RemoveError {
    /// There is no such member.
    #[error("there is no member {0:?}")]
    UnknownMember(String),
    /// It is the only voter.
    #[error("{0} is the only member that votes")]
    Last(String),
    /// Without it, too few of the others answer.
    #[error("without {name} the cluster would stand still: of the {rest} others only {answering} answer")]
    QuorumAtRisk {
        /// The member.
        name: String,
        /// How many voters would be left.
        rest: usize,
        /// How many of them answer.
        answering: usize,
    },
    /// Too many changes wait for their turn.
    #[error("other changes of the members are waiting")]
    Overloaded,
    /// It was not done, or not for certain.
    #[error(transparent)]
    NotChanged(#[from] NotChanged),
}

impl Members {
    /// Removes whoever has this name. Returns when a majority of those who are left has it on disk.
    ///
    /// # Errors
    /// See [`RemoveError`]. It is the leader's to do; one that is to remove itself lets another lead first.
    pub async fn remove(&self, name: String) -> Result<(), RemoveError> {
        let (answer, answered) = oneshot::channel();
        self.removals.try_send(Removal { name, answer }).map_err(|_| RemoveError::Overloaded)?;
        answered.await.unwrap_or(Err(RemoveError::NotChanged(NotChanged::Unknown)))
    }
}

impl Task {
    pub(super) async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        if !self.leads() {
            return Err(NotChanged::NotLeader { leader: self.leader() }.into());
        }
        let membership = self.settled().await?;
        let gone: BTreeSet<u64> = membership.named(name).map(|member| member.id).collect();
        if gone.is_empty() {
            return Err(RemoveError::UnknownMember(name.into()));
        }
        let (voters, learners): (BTreeSet<u64>, _) = gone.iter().partition(|id| membership.is_voter(**id));
        if voters.is_empty() {
            return Ok(self.parts.replica.drop_learners(learners, &membership).await?);
        }
        let rest: BTreeSet<u64> = membership.target().difference(&voters).copied().collect();
        self.check_quorum(name, &rest, &membership).await?;
        if gone.contains(&self.parts.me.node_id) {
            self.parts.replica.hand_over(HAND_OVER_TIMEOUT).await;
            return Err(NotChanged::NotLeader { leader: self.leader() }.into());
        }
        // The first members have their ids from nobody: nobody else may get one that leaves.
        self.give_ids(membership.highest_id(), 0).await?;
        // With whoever came for its place, and whose former one has its vote still.
        self.parts.replica.change_voters(rest, learners, &membership).await?;
        tracing::info!("{name} ({voters:?}) is no member any more");
        Ok(())
    }

    /// Asks everybody who would be left: what was heard a moment ago says nothing of who died since.
    async fn check_quorum(
        &self,
        name: &str,
        rest: &BTreeSet<u64>,
        membership: &Membership,
    ) -> Result<(), RemoveError> {
        if rest.is_empty() {
            return Err(RemoveError::Last(name.into()));
        }
        let others = membership.members.iter().filter(|member| rest.contains(&member.id));
        let asked = others.map(|member| async move {
            member.id == self.parts.me.node_id || self.is_there(&member.peer).await
        });
        let answering = futures::future::join_all(asked).await.into_iter().filter(|there| *there).count();
        if answering <= rest.len() / 2 {
            return Err(RemoveError::QuorumAtRisk { name: name.into(), rest: rest.len(), answering });
        }
        Ok(())
    }
}
