//! What keeps the server within its memory and its disk, before anything is proposed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_storage::Quota;
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
    disk_full: Arc<AtomicBool>,
}

impl Admission {
    /// Admission within `limits`.
    pub fn new(limits: &Limits) -> Self {
        let permits = limits.unanswered_bytes_max.div_ceil(PERMIT_BYTES);
        let permits_max = u32::try_from(permits).unwrap_or(u32::MAX);
        Self {
            bytes: Arc::new(Semaphore::new(permits_max as usize)),
            permits_max,
            disk_full: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Room for so many bytes until the permit is dropped; waits for it, which is the backpressure that a
    /// producer feels.
    pub async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits =
            u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.permits_max);
        self.bytes.clone().acquire_many_owned(permits).await.ok()
    }

    /// An error while the disk or one of the quotas is too full to publish. What was let in and has no answer yet counts,
    /// with a quarter for the pages around it.
    pub fn check_space(&self, quotas: impl IntoIterator<Item = Quota>) -> Result<(), Failure> {
        let permits = self.permits_max as usize - self.bytes.available_permits();
        let unanswered = (permits * PERMIT_BYTES) as u64;
        if !quotas.into_iter().all(|quota| quota.admits(unanswered + unanswered / 4)) {
            return Err(Failure::no_space("the data of the leader has reached --map-bytes-max".into()));
        }
        if self.disk_full.load(Ordering::Relaxed) {
            return Err(Failure::no_space("the disk of the leader has reached its reserve".into()));
        }
        Ok(())
    }

    /// Watches the disk, whose free bytes `disk_free` tells, until it is dropped.
    pub async fn watch(self, limits: Limits, disk_free: impl Fn() -> u64) {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let free_bytes = disk_free();
            let full = free_bytes < limits.disk_reserve_bytes;
            if self.disk_full.swap(full, Ordering::Relaxed) != full {
                tracing::warn!(full, free_bytes, "room for publishing has changed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_owed_and_what_is_unanswered_count_like_what_is_used() {
        let admission = Admission::new(&Limits { unanswered_bytes_max: 1 << 20, disk_reserve_bytes: 0 });
        let quota = |used_bytes, owed_bytes| Quota { used_bytes, owed_bytes, limit_bytes: 1_000_000 };
        let admits = |quota| admission.check_space([quota]).is_ok();
        assert!(admits(quota(500_000, 300_000)) && !admits(quota(500_000, 450_000)));
        let room = admission.room(200_000).await;
        assert!(!admits(quota(500_000, 300_000)) && admits(quota(500_000, 100_000)));
        drop(room);
        assert!(admits(quota(500_000, 300_000)));
    }
}
