//! Brings the state to the disk at a steady pace, and keeps the log within its bound: bytes decide, not entries,
//! since an entry may hold one message or thousands.

use std::time::Duration;

use openraft::type_config::async_runtime::watch::WatchReceiver;
use quorate_simpoint::{Bug, buggify, planted};
use tokio::time::Instant;

use crate::replica::Replica;

/// The log's bound where room is short, in bytes.
const SHORT_OF_ROOM_BYTES_MAX: u64 = 4 << 20;

/// While a snapshot is on its way, the log may have so many times its bound.
const UNDER_WAY_FACTOR: u64 = 4;

/// A follower that is sent no entries is given a snapshot once in this time.
const SPARED_SNAPSHOT_INTERVAL: Duration = Duration::from_secs(10);

/// Flushes the state, so that a restart replays little, and purges the log whenever it holds more than its
/// bound. Runs until the replica stops.
pub async fn run(replica: Replica) {
    let settings = replica.settings().clone();
    let mut interval = tokio::time::interval(settings.retention_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut asked, mut spared) = (None, Spared::default());
    loop {
        interval.tick().await;
        let bytes_max = bound(&replica, settings.log_bytes_max);
        if let Err(e) = let_go_of_laggards(&replica, asked.take(), bytes_max) {
            tracing::warn!("the log is not looked at: {e}");
            return; // the log is damaged, and its store has stopped
        }
        if replica.state().flushed() != replica.state().applied().last
            && let Err(e) = replica.state().flush().await
        {
            tracing::warn!("the state is not flushed: {e}");
            return; // the store has stopped
        }
        match keep_within_bounds(&replica, bytes_max).await {
            Ok(upto) => asked = upto,
            Err(e) => {
                tracing::warn!("the log is not purged: {e}");
                return; // the replica has stopped
            }
        }
        if let Err(e) = spared.look(&replica).await {
            tracing::warn!("the log is not purged: {e}");
            return; // the replica has stopped
        }
    }
}

/// Followers that are sent no entries, being nearly full, see [`crate::standing::Voters::spared`]. What would make room there may
/// lie behind more entries than it can hold: a snapshot has no such entries. It is offered where the log lacks what the follower
/// lacks, and taken if it fits.
#[derive(Default)]
struct Spared {
    /// When one was last made to need a snapshot.
    at: Option<Instant>,
}

impl Spared {
    /// Has the log forget what they lack, if it is time and the state does not need it. Whoever is down and lags further gets a snapshot, too.
    async fn look(&mut self, replica: &Replica) -> Result<(), crate::Error> {
        if self.at.is_some_and(|at| at.elapsed() < SPARED_SNAPSHOT_INTERVAL) {
            return Ok(());
        }
        let lacks = |id| replica.matched(id).map_or(0, |matched| matched + 1);
        let Some(lacks) = replica.reports().spared().into_iter().map(lacks).max() else { return Ok(()) };
        if lacks < replica.log().first() || lacks >= replica.state().needed_from() {
            return Ok(());
        }
        if purge(replica, lacks).await? >= lacks {
            self.at = Some(Instant::now());
        }
        Ok(())
    }
}

/// The log's bound now: what is kept only so that followers who were away need no snapshot goes when room is short.
fn bound(replica: &Replica, bytes_max: u64) -> u64 {
    let is_short = replica.log().room().is_short() || replica.state().room().is_short();
    if is_short { bytes_max.min(SHORT_OF_ROOM_BYTES_MAX) } else { bytes_max }
}

/// Purges the log if it is over its bound. What the state has in it stays, so a backlog is not written again, and the log is
/// as long as the backlog; unless more of it is of no use than of use, or it takes up half of its room. Returns up to where
/// it was asked to be purged.
async fn keep_within_bounds(replica: &Replica, bytes_max: u64) -> Result<Option<u64>, crate::Error> {
    let (log, state) = (replica.log(), replica.state());
    let to_the_tip = buggify("raft/retention/purge_to_the_tip");
    let bytes = log.bytes();
    if bytes <= bytes_max && !to_the_tip {
        return Ok(None);
    }
    let stopped = |e: quorate_storage::Error| crate::Error::Stopped(e.to_string());
    let leaving = |keep| log.index_leaving(keep).map_err(stopped);
    let Some(mut upto) = leaving(if to_the_tip { 0 } else { bytes_max / 2 })?.map(|id| id.index) else {
        return Ok(None);
    };
    let quota = log.quota();
    let short_of_room = to_the_tip || quota.used_bytes > quota.limit_bytes / 2;
    let mostly_useless = bytes > bytes_max + 2 * state.bytes_in_log();
    if short_of_room {
        state.bring_in(upto).await.map_err(stopped)?;
    } else if mostly_useless && let Some(half) = leaving(bytes / 2)? {
        state.bring_in(half.index).await.map_err(stopped)?;
    }
    upto = upto.min(match state.needed_from().checked_sub(1) {
        Some(free) if free >= log.first() => free,
        _ => return Ok(None),
    });
    upto = upto.min(kept_for_snapshots(replica.snapshots_under_way(), bytes, bytes_max));
    if upto < log.first() {
        return Ok(None);
    }
    purge(replica, upto).await.map(Some)
}

/// openraft keeps what a replication stream may still have to send. If that is as much as the whole bound since the purge up
/// to `asked` was asked for, a follower does not keep up: the log is not kept for it any more, and it will be given a snapshot.
fn let_go_of_laggards(replica: &Replica, asked: Option<u64>, bytes_max: u64) -> Result<(), crate::Error> {
    let Some(asked) = asked else { return Ok(()) };
    let log = replica.log();
    let first_bytes = log.index_leaving(log.bytes().saturating_sub(bytes_max));
    let first_bytes = first_bytes.map_err(|e| crate::Error::Stopped(e.to_string()))?;
    // Where the stretch of useless entries is longer than the bound, this one ends within it.
    if first_bytes.is_none_or(|id| id.index >= asked) || planted(Bug::LaggardHoldsLog) {
        return Ok(());
    }
    for follower in replica.members() {
        let behind = replica.matched(follower.id).is_none_or(|matched| matched < asked);
        if follower.id != replica.node_id() && behind && replica.resets().reset(follower.id) {
            tracing::warn!(
                follower = follower.name,
                log_bytes = log.bytes(),
                "the log is not kept any longer for a follower that does not keep up: it will get a snapshot"
            );
        }
    }
    Ok(())
}

/// Up to where the log may go in view of the snapshots that are being sent: what follows them is needed soon. But one that takes
/// for ever does not let the log grow for ever.
fn kept_for_snapshots(under_way: Option<u64>, bytes: u64, bytes_max: u64) -> u64 {
    under_way.filter(|_| bytes <= bytes_max.saturating_mul(UNDER_WAY_FACTOR)).unwrap_or(u64::MAX)
}

/// Has openraft take a snapshot, which is a flush of the state, and forget the log before it.
/// Returns up to where the log may go now.
async fn purge(replica: &Replica, upto: u64) -> Result<u64, crate::Error> {
    let snapshot = replica.raft().metrics().borrow_watched().snapshot.as_ref().map_or(0, |id| id.index);
    if snapshot < upto {
        replica.raft().trigger().snapshot().await?;
    }
    // Purges as far as the last finished snapshot reaches; the next round goes on from there.
    replica.raft().trigger().purge_log(upto).await?;
    Ok(upto.min(snapshot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_kept_for_a_snapshot_on_its_way_up_to_a_bound() {
        let bound = 1 << 20;
        assert_eq!(kept_for_snapshots(None, 2 * bound, bound), u64::MAX);
        assert_eq!(kept_for_snapshots(Some(70), 2 * bound, bound), 70);
        assert_eq!(kept_for_snapshots(Some(70), UNDER_WAY_FACTOR * bound, bound), 70);
        assert_eq!(kept_for_snapshots(Some(70), UNDER_WAY_FACTOR * bound + 1, bound), u64::MAX);
    }
}
