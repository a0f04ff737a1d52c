//! Brings the state to the disk at a steady pace, and keeps the log within its bound: bytes decide, not entries,
//! since an entry may hold one message or thousands.

use openraft::type_config::async_runtime::watch::WatchReceiver;
use quorate_simpoint::buggify;

use crate::replica::Replica;

/// Flushes the state, so that a restart replays little, and purges the log whenever it holds more than its
/// bound. Runs until the replica stops.
pub async fn run(replica: Replica) {
    let settings = replica.settings().clone();
    let mut interval = tokio::time::interval(settings.retention_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if replica.state().flushed() != replica.state().applied().last
            && let Err(e) = replica.state().flush().await
        {
            tracing::warn!("the state is not flushed: {e}");
            return; // the store has stopped
        }
        if let Err(e) = keep_within_bounds(&replica, settings.log_bytes_max).await {
            tracing::warn!("the log is not purged: {e}");
            return; // the replica has stopped
        }
    }
}

/// Purges the log if it is over its bound. What the state has in it stays, so a backlog is not written again, and the log is
/// as long as the backlog; unless more of it is of no use than of use, or it takes up half of its room.
async fn keep_within_bounds(replica: &Replica, bytes_max: u64) -> Result<(), crate::Error> {
    let (log, state) = (replica.log(), replica.state());
    let to_the_tip = buggify("raft/retention/purge_to_the_tip");
    let bytes = log.bytes();
    if bytes <= bytes_max && !to_the_tip {
        return Ok(());
    }
    let stopped = |e: quorate_storage::Error| crate::Error::Stopped(e.to_string());
    let leaving = |keep| log.index_leaving(keep).map_err(stopped);
    let Some(mut upto) = leaving(if to_the_tip { 0 } else { bytes_max / 2 })?.map(|id| id.index) else {
        return Ok(());
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
        _ => return Ok(()),
    });
    purge(replica, upto).await
}

/// Has openraft take a snapshot, which is a flush of the state, and forget the log before it.
async fn purge(replica: &Replica, upto: u64) -> Result<(), crate::Error> {
    let snapshot = replica.raft().metrics().borrow_watched().snapshot.as_ref().map_or(0, |id| id.index);
    if snapshot < upto {
        replica.raft().trigger().snapshot().await?;
    }
    // Purges as far as the last finished snapshot reaches; the next round goes on from there.
    replica.raft().trigger().purge_log(upto).await?;
    Ok(())
}
