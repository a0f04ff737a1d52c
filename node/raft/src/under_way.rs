//! Snapshots that are being sent: the log keeps what their receivers need next, or they would need another one when they have it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A receiver has its snapshot some time before the first entry behind it is ordered to be sent: openraft keeps the log from then on.
const GRACE: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Default)]
pub struct UnderWay(Mutex<Sending>);

#[derive(Default)]
struct Sending {
    /// How many there ever were.
    begun: u64,
    by_number: BTreeMap<u64, OneOf>,
}

struct OneOf {
    /// Index of the last entry in it.
    last: u64,
    /// Set once it has arrived.
    forget_at: Option<Instant>,
}

/// A snapshot that is being sent. Dropped without [`arrived`](Transfer::arrived), it holds nothing any more.
pub struct Transfer {
    all: Arc<UnderWay>,
    number: u64,
    has_arrived: bool,
}

impl UnderWay {
    /// A snapshot whose last entry has this index begins to be sent.
    pub fn begin(self: &Arc<Self>, last: u64) -> Transfer {
        let mut sending = self.0.lock();
        sending.begun += 1;
        let number = sending.begun;
        sending.by_number.insert(number, OneOf { last, forget_at: None });
        Transfer { all: Arc::clone(self), number, has_arrived: false }
    }

    /// Index of the last entry of the oldest: what follows it is needed soon.
    pub fn oldest(&self) -> Option<u64> {
        let mut sending = self.0.lock();
        let now = Instant::now();
        sending.by_number.retain(|_, one| one.forget_at.is_none_or(|at| now < at));
        sending.by_number.values().map(|one| one.last).min()
    }
}

impl Transfer {
    /// Its receiver has it.
    pub fn arrived(mut self) {
        self.has_arrived = true;
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut sending = self.all.0.lock();
        if !self.has_arrived {
            sending.by_number.remove(&self.number);
        } else if let Some(one) = sending.by_number.get_mut(&self.number) {
            one.forget_at = Some(Instant::now() + GRACE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_snapshot_is_kept_until_a_moment_after_it_has_arrived() {
        let under_way = Arc::new(UnderWay::default());
        assert_eq!(under_way.oldest(), None);
        let (first, second) = (under_way.begin(70), under_way.begin(90));
        tokio::time::advance(GRACE * 100).await;
        assert_eq!(under_way.oldest(), Some(70), "however long it takes");
        first.arrived();
        assert_eq!(under_way.oldest(), Some(70));
        tokio::time::advance(GRACE).await;
        assert_eq!(under_way.oldest(), Some(90));
        drop(second);
        assert_eq!(under_way.oldest(), None, "it was given up");
    }
}
