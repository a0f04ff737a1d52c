//! Which versions the members read, and raising the one that is active.
//!
//! What a member's program reads stands in the membership, as the leader was told when it began to replicate to it: another
//! program under the same data says something else. A version is raised by a command in the log, after every member has answered
//! that it reads it, and only if the leader that asked leads still, without a break: nobody else changes the members meanwhile.

use std::time::Duration;

use quorate_machine::Versions;
use quorate_machine::command::{Batch, Measured, RaiseVersion, Verb};
use quorate_machine::reply::Reply;
use quorate_raft::{Member, Membership, NotChanged, peers};
use quorate_simpoint::{Bug, planted};
use tokio::sync::oneshot;

use super::{Members, Task, not_changed};

/// Deadline of a raise, once it is proposed: what became of it then is seen in the version.
const RAISE_TIMEOUT: Duration = Duration::from_secs(5);

/// A raise that was asked for.
pub struct Raise {
    /// 0: the highest that every member reads and writes.
    pub(super) to: u32,
    pub(super) answer: oneshot::Sender<Result<u32, RaiseError>>,
}

/// Why the active version was not raised.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum RaiseError {
    /// A member's program cannot read it.
    #[error("{name} (id {id}) reads {versions}, not version {to}")]
    NotRead {
        /// The member.
        name: String,
        /// The member.
        id: u64,
        /// What it reads.
        versions: Versions,
        /// What was asked for.
        to: u32,
    },
    /// A member does not say what it reads.
    #[error("{name} (id {id}) does not say which versions it reads: {problem}")]
    Silent {
        /// The member.
        name: String,
        /// The member.
        id: u64,
        /// What happened.
        problem: String,
    },
    /// Too many changes wait for their turn.
    #[error("other changes of the members are waiting")]
    Overloaded,
    /// It was not done, or not for certain.
    #[error(transparent)]
    NotChanged(#[from] NotChanged),
}

impl Members {
    /// Raises the active version, to the highest that every member reads and writes if `to` is 0. Returns the one that is active
    /// then, which is a later one if it was raised before.
    ///
    /// # Errors
    /// See [`RaiseError`]. It is the leader's to do.
    pub async fn raise(&self, to: u32) -> Result<u32, RaiseError> {
        let (answer, answered) = oneshot::channel();
        self.raises.try_send(Raise { to, answer }).map_err(|_| RaiseError::Overloaded)?;
        answered.await.unwrap_or(Err(RaiseError::NotChanged(NotChanged::Unknown)))
    }
}

impl Task {
    pub(super) async fn raise(&self, to: u32) -> Result<u32, RaiseError> {
        let leadership = self.parts.replica.leadership().borrow().clone();
        if !leadership.mine {
            return Err(NotChanged::NotLeader { leader: leadership.leader }.into());
        }
        let membership = self.settled().await?;
        let blind = planted(Bug::RaisedTooEarly) || planted(Bug::UnreadableSkipped);
        let to = match blind {
            true => to.max(self.parts.me.versions.highest()),
            false => self.check(to, &membership).await?,
        };
        let active = self.parts.replica.active_version();
        if to <= active {
            return Ok(active);
        }
        let verb = Verb::RaiseVersion(RaiseVersion { to });
        let version = self.parts.replica.written_version();
        let command = [Measured::of(verb).map_err(|refusal| NotChanged::Busy(refusal.to_string()))?];
        let entry = Batch::pack(version, self.parts.time.now_ms(), &command);
        let proposed = self.parts.replica.propose_in(leadership.term, entry);
        let outcome = tokio::time::timeout(RAISE_TIMEOUT, proposed).await;
        match outcome.map_err(|_| NotChanged::Unknown)?.map_err(not_changed)? {
            Ok(Reply::VersionActive(active)) => {
                tracing::info!("version {active} is active from now on");
                Ok(active)
            }
            Ok(_) => Err(NotChanged::Busy("the answer was for another question".into()).into()),
            Err(refusal) => Err(NotChanged::Busy(refusal.to_string()).into()),
        }
    }

    /// Asks every member which versions it reads. Returns the version to raise to.
    async fn check(&self, to: u32, membership: &Membership) -> Result<u32, RaiseError> {
        let asked = membership.members.iter().map(|member| self.ask_versions(member));
        let answers = futures::future::join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let to = match to {
            0 => answers.iter().map(Versions::highest).min().unwrap_or(0),
            to => to,
        };
        let unfit = membership.members.iter().zip(&answers).find(|(_, versions)| !versions.read(to));
        match unfit {
            Some((Member { id, peer }, versions)) => {
                Err(RaiseError::NotRead { name: peer.name.clone(), id: *id, versions: *versions, to })
            }
            None => Ok(to),
        }
    }

    async fn ask_versions(&self, member: &Member) -> Result<Versions, RaiseError> {
        if member.id == self.parts.me.node_id {
            return Ok(self.parts.me.versions);
        }
        let Member { id, peer } = member;
        let silent = |problem| RaiseError::Silent { name: peer.name.clone(), id: *id, problem };
        let answer = peers::ask(&self.parts.transport, &self.parts.me, &peer.peer_addr).await;
        let account = answer.map_err(silent)?;
        match account.incarnation == peer.incarnation[..] {
            true => Ok(account.versions),
            false => Err(silent(format!("at {} answers {}, without its data", peer.peer_addr, account.name))),
        }
    }

    /// Writes into the membership what members have said that it does not have yet. Returns whether there was something to write.
    pub(super) async fn describe(&self, membership: &Membership) -> bool {
        if !membership.committed || membership.is_joint() {
            return false;
        }
        let said = |id| match id == self.parts.me.node_id {
            true => Some(self.parts.me.versions),
            false => self.parts.replica.declared_versions(id),
        };
        let others = membership.members.iter().filter_map(|Member { id, peer }| {
            let versions = said(*id).filter(|versions| *versions != peer.versions)?;
            let mut peer = peer.clone();
            peer.versions = versions;
            Some(Member { id: *id, peer })
        });
        let others: Vec<Member> = others.collect();
        if others.is_empty() {
            return false;
        }
        for Member { id, peer } in &others {
            tracing::info!("{} (id {id}) now reads {}", peer.name, peer.versions);
        }
        if let Err(e) = self.parts.replica.describe(others, membership).await {
            tracing::info!("what the members read is not written down yet: {e}");
        }
        true
    }
}
