//! A deadline that moves: work may take as long as it likes while something comes of it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How often a deadline that may have changed is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// When something came of some work last.
pub struct Progress {
    last: Mutex<Instant>,
    deadline: Box<dyn Fn() -> Duration + Send + Sync>,
}

/// Nothing came of it for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it did not get on for {0:?}")]
pub struct Stalled(pub Duration);

impl Progress {
    /// Work that begins now and is given up when nothing comes of it for `deadline`.
    pub fn new(deadline: Duration) -> Self {
        Self::with(move || deadline)
    }

    /// The same where the deadline is not always the same.
    pub fn with(deadline: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { last: Mutex::new(Instant::now()), deadline: Box::new(deadline) }
    }

    /// Something came of it.
    pub fn note(&self) {
        *self.last.lock() = Instant::now();
    }

    /// Carries out the work.
    ///
    /// # Errors
    /// [`Stalled`].
    pub async fn watch<T>(&self, work: impl Future<Output = T>) -> Result<T, Stalled> {
        tokio::pin!(work);
        loop {
            let until = *self.last.lock() + (self.deadline)();
            let look = until.min(Instant::now() + LOOK_INTERVAL);
            if let Ok(done) = tokio::time::timeout_at(look, &mut work).await {
                return Ok(done);
            }
            let deadline = (self.deadline)();
            if *self.last.lock() + deadline <= Instant::now() {
                return Err(Stalled(deadline));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_gets_on_takes_as_long_as_it_likes_and_work_that_does_not_is_given_up() {
        let (deadline, step) = (Duration::from_secs(30), Duration::from_secs(29));
        let progress = Progress::new(deadline);
        let work = async {
            for _ in 0..1000 {
                tokio::time::sleep(step).await;
                progress.note();
            }
        };
        assert_eq!(progress.watch(work).await, Ok(()));
        let began = Instant::now();
        let progress = Progress::new(deadline);
        let work = async {
            tokio::time::sleep(step).await;
            progress.note();
            std::future::pending::<()>().await;
        };
        assert_eq!(progress.watch(work).await, Err(Stalled(deadline)));
        assert_eq!(began.elapsed(), step + deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_becomes_shorter_counts_from_then_on() {
        let (long, short) = (Duration::from_secs(60), Duration::from_secs(5));
        let began = Instant::now();
        let is_short = move || began.elapsed() >= Duration::from_secs(20);
        let progress = Progress::with(move || if is_short() { short } else { long });
        assert_eq!(progress.watch(std::future::pending::<()>()).await, Err(Stalled(short)));
        assert_eq!(began.elapsed(), Duration::from_secs(20));
    }
}
