//! The settings of a replica: plain data.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use quorate_simpoint::{Bug, planted};

use crate::peers::PEER_MESSAGE_BYTES_MAX;

/// Entries that one request to a follower carries at most.
pub(crate) const READ_ENTRIES_MAX: u64 = 300;

/// Times and sizes of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The leader speaks to its followers this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// A follower that hears nothing campaigns after at least `election_ms_max` plus this, in milliseconds.
    pub election_ms_min: u64,
    /// How long the leader's lease lasts, in milliseconds; a silent leader is replaced within twice this.
    pub election_ms_max: u64,
    /// The log is purged when it holds more than this, in bytes, and about half of it is kept; more, while messages in
    /// queues need it: see `retention.rs`.
    pub log_bytes_max: u64,
    /// How often the size of the log is looked at.
    pub retention_interval: Duration,
    /// A snapshot, which may take as long as it likes, is given up when it does not get on for so long.
    pub snapshot_stall: Duration,
    /// Longest message that a peer takes, in bytes. Less only where a test wants to see what happens beyond it.
    pub peer_message_bytes_max: usize,
    /// A log is stalled if something waits for its disk and for so long nothing gets there: its node does not lead. Nor, after
    /// a tenth of it, does one that takes no more because what waits is all it may hold.
    pub log_stall_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_ms_min: 400,
            election_ms_max: 800, // a silent leader is replaced after 1.2 to 1.6 s
            log_bytes_max: 512 * 1024 * 1024,
            retention_interval: Duration::from_secs(1),
            snapshot_stall: Duration::from_secs(60),
            peer_message_bytes_max: PEER_MESSAGE_BYTES_MAX,
            log_stall_after: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// Of a node that has not reported for so long nothing is known.
    pub(crate) fn silent_after(&self) -> Duration {
        Duration::from_millis(2 * self.election_ms_max)
    }

    /// A log that takes no more is blocked when for so long nothing got to its disk.
    pub(crate) fn log_blocked_after(&self) -> Duration {
        self.log_stall_after / 10
    }

    /// A leader is not asked to let another lead because its log is blocked before it has led for so long: where all disks are
    /// slow, leadership would go round.
    pub(crate) fn settled_after(&self) -> Duration {
        self.log_stall_after
    }

    /// openraft's own settings. Why each is as it is: docs/adr/001-openraft-alpha.md.
    pub(crate) fn config(&self) -> Result<Arc<Config>, crate::Error> {
        let config = Config {
            cluster_name: "quorate".into(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_ms_min,
            election_timeout_max: self.election_ms_max,
            enable_pre_vote: Some(true),
            quorum_loss_probe_interval: Some(2 * self.election_ms_max),
            // Snapshots and purges go by bytes: see retention.rs.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            // A follower gets a snapshot only when its part of the log is gone.
            replication_lag_threshold: u64::MAX,
            allow_log_reversion: Some(false),
            max_payload_entries: READ_ENTRIES_MAX,
            // A restarted leader must not go on in its old term: entries reach followers before the leader's own
            // sync, so after a crash it could give other entries the same term and index.
            enable_leader_restore: Some(planted(Bug::LeaderRestore)),
            ..Config::default()
        };
        Ok(Arc::new(config.validate().map_err(|e| crate::Error::Settings(e.to_string()))?))
    }
}
