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
        let to_the_tip = buggify("raft/retention/purge_to_the_tip");
        if replica.log().bytes() <= settings.log_bytes_max && !to_the_tip {
            continue;
        }
        let keep_bytes = if to_the_tip { 0 } else { settings.log_bytes_max / 2 };
        if let Err(e) = purge(&replica, keep_bytes).await {
            tracing::warn!("the log is not purged: {e}");
            return; // the replica has stopped
        }
    }
}

/// Has openraft take a snapshot, which is a flush of the state, and forget the log before it.
async fn purge(replica: &Replica, keep_bytes: u64) -> Result<(), crate::Error> {
    let leaving =
        replica.log().index_leaving(keep_bytes).map_err(|e| crate::Error::Stopped(e.to_string()))?;
    let Some(leaving) = leaving else { return Ok(()) };
    let snapshot = replica.raft().metrics().borrow_watched().snapshot.as_ref().map_or(0, |id| id.index);
    if snapshot < leaving.index {
        replica.raft().trigger().snapshot().await?;
    }
    // Purges as far as the last finished snapshot reaches; the next round goes on from there.
    replica.raft().trigger().purge_log(leaving.index).await?;
    Ok(())
}
