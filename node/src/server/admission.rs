//! What keeps the server within its memory and its disk, before anything is proposed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;

/// Bounds of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bodies that were read from producers and have no answer yet, in bytes, over all streams.
    pub unanswered_bytes_max: usize,
    /// Publishing stops when the disk has less than this left, in bytes: settling needs room, too.
    pub disk_reserve_bytes: u64,
}

/// Bytes that one permit stands for.
const PERMIT_BYTES: usize = 1024;
/// How often the disk is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Admits publishes. Clones share the bounds.
#[derive(Clone)]
pub struct Admission {
    bytes: Arc<Semaphore>,
    permits_max: u32,
    full: Arc<AtomicBool>,
}

impl Admission {
    /// Admission within `limits`.
    pub fn new(limits: &Limits) -> Self {
        let permits = limits.unanswered_bytes_max.div_ceil(PERMIT_BYTES);
        let permits_max = u32::try_from(permits).unwrap_or(u32::MAX);
        Self {
            bytes: Arc::new(Semaphore::new(permits_max as usize)),
            permits_max,
            full: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Room for so many bytes until the permit is dropped; waits for it, which is the backpressure that a
    /// producer feels.
    pub async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits =
            u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.permits_max);
        self.bytes.clone().acquire_many_owned(permits).await.ok()
    }

    /// An error while the disk is too full to publish.
    pub fn check_space(&self) -> Result<(), Failure> {
        if self.full.load(Ordering::Relaxed) {
            return Err(Failure::no_space("the disk of the leader has reached its reserve".into()));
        }
        Ok(())
    }

    /// Watches the disk until it is dropped. `spaces` tells of each environment how much of its map is used, and
    /// what is free on its disk.
    pub async fn watch<const N: usize>(
        self,
        limits: Limits,
        spaces: impl Fn() -> [quorate_storage::Space; N],
    ) {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let spaces = spaces();
            let full = spaces.iter().any(|space| {
                let map_nearly_full = space.used_bytes > space.limit_bytes / 10 * 9;
                map_nearly_full || space.disk_free_bytes < limits.disk_reserve_bytes
            });
            if self.full.swap(full, Ordering::Relaxed) != full {
                tracing::warn!(full, ?spaces, "room for publishing has changed");
            }
        }
    }
}
