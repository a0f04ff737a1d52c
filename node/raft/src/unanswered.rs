//! What a follower has taken from its leader's stream and not answered yet, bounded in bytes.
//!
//! openraft reads up to 64 requests ahead of its answers, however long they are. An answer comes when the entries are on
//! disk, so this bounds what a slow or hanging disk makes a follower hold.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_simpoint::{Bug, planted};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The side of a stream that takes requests.
#[derive(Clone)]
pub(crate) struct Requests(Arc<Shared>);

/// The side that answers them, in their order. When it is dropped no request is taken any more.
pub(crate) struct Answers(Arc<Shared>);

struct Shared {
    budget: Arc<Semaphore>,
    bytes_max: u32,
    held: Mutex<VecDeque<OwnedSemaphorePermit>>,
}

/// The two sides of a stream, of which so many bytes are taken before the first of them is answered; a longer request is
/// taken alone.
pub(crate) fn sides(bytes_max: u64) -> (Requests, Answers) {
    let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).max(1);
    let budget = Arc::new(Semaphore::new(bytes_max as usize));
    let shared = Arc::new(Shared { budget, bytes_max, held: Mutex::default() });
    (Requests(shared.clone()), Answers(shared))
}

impl Requests {
    /// Waits until a request of so many bytes may be taken. False if nobody answers any more.
    pub(crate) async fn take(&self, bytes: usize) -> bool {
        if planted(Bug::ReadyIgnored) {
            return true;
        }
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.0.bytes_max);
        let Ok(permit) = self.0.budget.clone().acquire_many_owned(permits).await else { return false };
        self.0.held.lock().push_back(permit);
        true
    }
}

impl Answers {
    /// The first request that was taken and not answered is answered.
    pub(crate) fn answered(&self) {
        self.0.held.lock().pop_front();
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.0.budget.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MAX: u64 = 8 << 20;
    const HALF: usize = MAX as usize / 2;

    async fn waits(requests: &Requests, bytes: usize) -> bool {
        timeout(Duration::from_secs(9), requests.take(bytes)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_until_those_before_it_are_answered() {
        let (requests, answers) = sides(MAX);
        assert!(requests.take(HALF).await && requests.take(HALF).await);
        assert!(waits(&requests, 1).await);
        answers.answered();
        assert!(requests.take(HALF - 1).await && requests.take(0).await, "an empty one counts, too");
        assert!(waits(&requests, 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_request_is_taken_alone() {
        let (requests, answers) = sides(MAX);
        assert!(requests.take(1).await);
        assert!(waits(&requests, 9 * HALF).await);
        answers.answered();
        assert!(requests.take(9 * HALF).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_answers_that_will_not_come() {
        let (requests, answers) = sides(MAX);
        assert!(requests.take(2 * HALF).await);
        let waiting = tokio::spawn(async move { requests.take(1).await });
        tokio::task::yield_now().await;
        drop(answers);
        assert!(!waiting.await.expect("no panic"));
    }
}
