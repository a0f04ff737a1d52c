//! What a node asks of its disk: how large things may get there, and that it stays where it is.

use std::time::Duration;

use quorate_raft::Replica;
use quorate_storage::log::{LogOptions, MapSize};
use quorate_storage::state::StateOptions;
use quorate_storage::{DataDir, Error, Watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::Components;
use crate::config::Config;

/// How often the data directory and its volume are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A transaction takes pages besides those that it frees: at most one part in so many of its map.
const MAP_PARTS: u64 = 16;

/// The state keeps one part in so many of the reserve: what settles and deletes needs most is the log.
const STATE_RESERVE_PARTS: u64 = 4;

pub(crate) fn log_options(config: &Config, parts: &Components) -> LogOptions {
    let defaults = LogOptions::default();
    LogOptions {
        map: map_size(config),
        batch_bytes: defaults.batch_bytes.min(config.map_bytes_max / MAP_PARTS),
        queue_bytes: config.log_queue_bytes,
        reserve_bytes: config.disk_reserve_bytes,
        on_fatal: parts.on_fatal.clone(),
        ..defaults
    }
}

pub(crate) fn state_options(config: &Config, parts: &Components) -> StateOptions {
    let defaults = StateOptions::default();
    StateOptions {
        map: map_size(config),
        flush_bytes: defaults.flush_bytes.min(config.map_bytes_max / MAP_PARTS),
        // Pages of the log's file that are free again are no room for the state, and files do not shrink.
        reserve_bytes: config.disk_reserve_bytes / STATE_RESERVE_PARTS,
        on_fatal: parts.on_fatal.clone(),
    }
}

fn map_size(config: &Config) -> MapSize {
    let default = MapSize::default();
    let max_bytes = config.map_bytes_max;
    MapSize { initial_bytes: default.initial_bytes.min(max_bytes), max_bytes }
}

/// Has the node end when its data directory is gone, and keeps the figures of its room fresh, until `stop`.
pub(crate) fn watch(
    dir: &DataDir,
    replica: &Replica,
    parts: &Components,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, Error> {
    let watch = Watch::start(dir, replica.log(), replica.state(), &parts.disk)?;
    let on_fatal = parts.on_fatal.clone();
    Ok(tokio::spawn(async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            error = lost(&watch) => on_fatal(&error),
        }
        watch.close().await;
    }))
}

/// Looks until something is wrong.
async fn lost(watch: &Watch) -> Error {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = watch.look().await {
            return error;
        }
    }
}
