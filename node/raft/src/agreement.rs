//! Comparing replicas while they run (P10): those that applied the same entries must hold the same rows.
//!
//! Each replica keeps the digests that its state had at its last checkpoints. A heartbeat asks for the digest at one of them, and the answer
//! carries it; while nothing is written, where the leader stands is one, too. When two differ, the leader asks everybody for that one. Whoever has not what a majority of the voters has is
//! stopped, the leader included. If no majority is found in time, because too few answer or all differ, the followers
//! that differ from the leader are stopped: it cannot be told who is right, and going on with both is worse.
//!
//! What an answer says of an index is true for good, whoever leads: it was applied, so it was committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_proto::peer::v1 as wire;
use quorate_simpoint::{Bug, planted};
use quorate_storage::state::State;
use tokio::time::Instant;

use crate::ending::Ending;
use crate::formation::hex;

/// Every index that this divides is a checkpoint.
const EVERY_ENTRIES: u64 = 64;
/// Checkpoints that are kept. A follower that is further behind is compared when it has caught up.
const KEPT_MAX: usize = 256;
/// A majority is waited for this long.
const PATIENCE: Duration = Duration::from_secs(3);
/// After this, what was found out is forgotten, and a difference that is still there is found anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

type Digest = [u8; 16];

/// The digest of a state after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of the entry.
    pub index: u64,
    /// Of all rows.
    pub digest: Digest,
}

impl From<Checkpoint> for wire::Checkpoint {
    fn from(checkpoint: Checkpoint) -> Self {
        Self { index: checkpoint.index, digest: Bytes::copy_from_slice(&checkpoint.digest) }
    }
}

/// What a peer sent; nothing if it is none.
pub(crate) fn from_wire(checkpoint: Option<&wire::Checkpoint>) -> Option<Checkpoint> {
    let checkpoint = checkpoint?;
    Some(Checkpoint { index: checkpoint.index, digest: checkpoint.digest.as_ref().try_into().ok()? })
}

/// Where a state stands; nothing if it cannot be read, which is its own to say.
pub(crate) fn now(state: &State) -> Option<Checkpoint> {
    let reader = state.read();
    let index = reader.applied().last?.index;
    Some(Checkpoint { index, digest: quorate_machine::read::digest(&reader).ok()? })
}

/// The digests of this replica at its last checkpoints. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints(Arc<Mutex<VecDeque<Checkpoint>>>);

impl Checkpoints {
    /// An entry was applied. Its digest is asked for if it is a checkpoint.
    pub(crate) fn applied(&self, index: u64, digest: impl FnOnce() -> Option<Digest>) {
        if index == 0 || !index.is_multiple_of(EVERY_ENTRIES) {
            return;
        }
        let Some(digest) = digest() else { return }; // a disk that cannot be read says so elsewhere
        self.keep(Checkpoint { index, digest });
    }

    fn at(&self, index: u64) -> Option<Checkpoint> {
        let kept = self.0.lock();
        let place = kept.binary_search_by_key(&index, |checkpoint| checkpoint.index).ok()?;
        kept.get(place).copied()
    }

    fn newest(&self) -> Option<Checkpoint> {
        self.0.lock().back().copied()
    }

    fn keep(&self, checkpoint: Checkpoint) {
        let mut kept = self.0.lock();
        if kept.back().is_some_and(|last| last.index >= checkpoint.index) {
            return;
        }
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(checkpoint);
    }

    /// What to answer to whoever asks for an index: that one, or the newest that there is. `now` is where the state stands.
    pub(crate) fn answer(&self, asked: Option<Checkpoint>, now: Option<Checkpoint>) -> Option<Checkpoint> {
        let index = asked?.index;
        let there = self.at(index).or_else(|| now.filter(|now| now.index == index));
        there.or_else(|| self.newest())
    }

    /// Why this replica must end if `theirs` is what the others have.
    pub(crate) fn against(&self, theirs: Checkpoint) -> Option<Ending> {
        let mine = self.at(theirs.index).filter(|mine| mine.digest != theirs.digest)?;
        Some(differs(mine, theirs))
    }
}

fn differs(mine: Checkpoint, theirs: Checkpoint) -> Ending {
    Ending::Differs { index: mine.index, mine: hex(&mine.digest), theirs: hex(&theirs.digest) }
}

/// The leader's side.
pub(crate) struct Comparison {
    me: u64,
    mine: Checkpoints,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    /// Up to which checkpoint each other replica was found to agree.
    agreed: BTreeMap<u64, u64>,
    dispute: Option<Dispute>,
    /// Where the state stood when somebody was asked last.
    stood: Option<Checkpoint>,
}

/// Two replicas differ.
struct Dispute {
    at: Checkpoint,
    since: Instant,
    /// What everybody has there who was asked.
    heard: BTreeMap<u64, Digest>,
    /// What is right there, once that is settled.
    right: Option<Digest>,
}

impl Comparison {
    pub(crate) fn new(me: u64, mine: Checkpoints) -> Self {
        Self { me, mine, found: Mutex::default() }
    }

    /// What to ask the others for. `now` is where the state stands: if that is where it stood before, it is a checkpoint.
    pub(crate) fn question(&self, now: Option<Checkpoint>) -> Option<Checkpoint> {
        let mut found = self.found.lock();
        if let Some(dispute) = &found.dispute {
            return Some(dispute.at);
        }
        let before = std::mem::replace(&mut found.stood, now);
        if let Some(now) = now.filter(|_| now == before) {
            self.mine.keep(now);
        }
        self.mine.newest()
    }

    /// What a replica has to be told: where it differs from the others, and what they have.
    pub(crate) fn verdict_on(&self, node: u64) -> Option<Checkpoint> {
        let found = self.found.lock();
        let dispute = found.dispute.as_ref()?;
        let digest = dispute.right?;
        let its = dispute.heard.get(&node)?;
        (*its != digest).then_some(Checkpoint { digest, ..dispute.at })
    }

    /// Up to which checkpoint each other replica was found to agree with this one.
    pub(crate) fn agreed(&self) -> BTreeMap<u64, u64> {
        self.found.lock().agreed.clone()
    }

    /// Takes an answer in. Returns why this replica must end, if it must. `voters` are asked for when there is a difference.
    pub(crate) fn answered(
        &self,
        node: u64,
        answer: Checkpoint,
        now: Instant,
        voters: impl FnOnce() -> BTreeSet<u64>,
    ) -> Option<Ending> {
        if planted(Bug::DigestsNotCompared) {
            return None;
        }
        let mine = self.mine.at(answer.index)?;
        let mut found = self.found.lock();
        found.dispute.take_if(|dispute| now - dispute.since > FORGOTTEN_AFTER);
        if mine == answer {
            let agreed = found.agreed.entry(node).or_default();
            *agreed = answer.index.max(*agreed);
        } else if found.dispute.is_none() {
            tracing::error!(
                "at index {} node {node} has the digest {}, this one {}: the others are asked",
                answer.index,
                hex(&answer.digest),
                hex(&mine.digest)
            );
            let heard = BTreeMap::from([(self.me, mine.digest)]);
            found.dispute = Some(Dispute { at: mine, since: now, heard, right: None });
        }
        let dispute = found.dispute.as_mut().filter(|dispute| dispute.at.index == answer.index)?;
        dispute.heard.insert(node, answer.digest);
        dispute.right = dispute.of_most(&voters());
        if dispute.right.is_none() && now - dispute.since > PATIENCE {
            dispute.right = Some(mine.digest);
        }
        let right = dispute.right.filter(|right| *right != mine.digest)?;
        Some(differs(mine, Checkpoint { digest: right, ..mine }))
    }
}

impl Dispute {
    /// The digest that a majority of the voters has.
    fn of_most(&self, voters: &BTreeSet<u64>) -> Option<Digest> {
        let mut votes = BTreeMap::<Digest, usize>::new();
        for (_, digest) in self.heard.iter().filter(|(node, _)| voters.contains(node)) {
            *votes.entry(*digest).or_default() += 1;
        }
        votes.into_iter().find(|(_, count)| 2 * count > voters.len()).map(|(digest, _)| digest)
    }
}

#[cfg(test)]
#[path = "agreement_tests.rs"]
mod tests;
