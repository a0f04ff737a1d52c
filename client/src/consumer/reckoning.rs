//! When a lease ends by this process's clock: never later than by the cluster's.
//!
//! The server says with each frame what time it is there (`now_ms`) and what was left of the lease at that time. When the frame is read
//! it may have stood in buffers, on both sides and between them, for as long as anybody was paused or cut off: the time of its arrival
//! says nothing. What does is an answer to a request. When the request left this process, the server's time had not yet reached the
//! `now_ms` of the answer, however long either of them was under way. From there on the server's time runs at nine to eleven tenths of
//! the speed of this clock (the leader is drawn to its wall clock by no more than that), so a deadline of the server's that is `d`
//! ahead of `now_ms` is reached no sooner than ten elevenths of `d` after the request left. A consumer asks for nothing, which costs
//! the server no entry, when it has had no other answer for as long as a lease: what is lost by being early stays below a fifth of it.

use std::time::Duration;

use tokio::time::Instant;

/// When a lease ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Before this the server has not ended it for its time.
    pub(super) early: Instant,
    /// By then it has, if the lease was not extended or settled.
    pub(super) late: Instant,
}

impl Due {
    /// A lease that ends `length` after the server has carried out what was asked for at `asked`. When that was is not known yet, so
    /// the late side is only as good as the answer is quick.
    pub(super) fn extended(asked: Instant, length: Duration) -> Self {
        Self { early: asked + early(length), late: asked + late(length) }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.early <= now
    }
}

/// The cluster's time, as an answer told it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reckoning {
    /// When what was answered had been asked.
    asked: Instant,
    /// When the answer was read.
    heard: Instant,
    /// The server's time in between, in milliseconds since 1970.
    now_ms: u64,
}

impl Reckoning {
    pub(super) fn new(asked: Instant, now_ms: u64) -> Self {
        Self { asked, heard: Instant::now(), now_ms }
    }

    /// When the server's time reaches this.
    pub(super) fn due(&self, deadline_ms: u64) -> Due {
        let ahead = Duration::from_millis(deadline_ms.saturating_sub(self.now_ms));
        Due { early: self.asked + early(ahead), late: self.heard + late(ahead) }
    }

    /// Whether it tells more than a later one, whose answer was long under way. Either is right.
    pub(super) fn is_better_than(&self, later: &Self) -> bool {
        let passed = Duration::from_millis(later.now_ms.saturating_sub(self.now_ms));
        self.asked + early(passed) > later.asked
    }

    /// How long ago the question was asked.
    pub(super) fn age(&self) -> Duration {
        self.asked.elapsed()
    }
}

/// The server's time is fast by a tenth at most.
fn early(time: Duration) -> Duration {
    time - time / 11
}

/// It is slow by a tenth at most.
fn late(time: Duration) -> Duration {
    time + time / 9
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Whatever the delays and the speed of the server's clock, the reckoning is on the early side, and not by much.
    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_never_reckoned_too_late() {
        for (there_ms, back_ms, idle_ms) in [(0, 0, 0), (1, 2, 30_000), (900, 5, 0), (5, 20_000, 7000)] {
            for permille in [900, 1000, 1100] {
                let asked = Instant::now();
                let server_ms = |at: Instant| 5_000_000 + (at - asked).as_millis() as u64 * permille / 1000;
                tokio::time::advance(Duration::from_millis(there_ms)).await;
                let now_ms = server_ms(Instant::now());
                tokio::time::advance(Duration::from_millis(back_ms)).await;
                let reckoning = Reckoning::new(asked, now_ms);
                tokio::time::advance(Duration::from_millis(idle_ms)).await;
                let deadline_ms = server_ms(Instant::now()) + 30_000;
                let due = reckoning.due(deadline_ms);
                assert!(server_ms(due.early) <= deadline_ms, "{there_ms} {back_ms} {idle_ms} {permille}");
                assert!(server_ms(due.late) + 1 >= deadline_ms, "{there_ms} {back_ms} {idle_ms} {permille}");
                let lost = Instant::now() + 30 * SECOND - due.early;
                let most = 12 * SECOND + Duration::from_millis(there_ms + back_ms);
                assert!(lost <= most, "{lost:?} of {there_ms} {back_ms} {idle_ms} {permille}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_better_of_two_reckonings_is_the_one_whose_question_was_answered_sooner_or_is_younger() {
        let begun = Instant::now();
        tokio::time::advance(100 * SECOND).await;
        let quick = Reckoning::new(begun + 10 * SECOND, 10_000);
        let slow = Reckoning::new(begun + 11 * SECOND, 15_000);
        assert!(quick.is_better_than(&slow));
        let younger = Reckoning::new(begun + 90 * SECOND, 90_010);
        assert!(!quick.is_better_than(&younger));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_over_when_it_was_sent_is_over() {
        let reckoning = Reckoning::new(Instant::now(), 5000);
        assert!(reckoning.due(5000).is_over(Instant::now()) && reckoning.due(0).is_over(Instant::now()));
        assert!(!reckoning.due(5100).is_over(Instant::now()));
    }
}
