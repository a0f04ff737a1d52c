//! When a leader that owes an answer is doubted.

use std::time::Duration;

use tokio::time::Instant;

/// A leader that leaves what was asked unanswered for so long may be cut off: the other nodes are asked.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
/// They elect a new one some time after they noticed: they are asked again this often.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Watches one stream.
pub(crate) struct Silence {
    doubt_at: Instant,
}

impl Silence {
    pub(crate) fn new() -> Self {
        Self { doubt_at: Instant::now() + SILENCE }
    }

    /// The leader said something, or was only now asked for something.
    pub(crate) fn broken(&mut self) {
        self.doubt_at = Instant::now() + SILENCE;
    }

    /// Whether the others are to be asked now.
    pub(crate) fn doubts(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.doubt_at;
        if due {
            self.doubt_at = now + ASK_AGAIN;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_leader_is_doubted_after_a_second_and_then_again_and_again() {
        let mut silence = Silence::new();
        let mut doubts = Vec::new();
        for at_ms in (100..=2000).step_by(100) {
            tokio::time::advance(Duration::from_millis(100)).await;
            if silence.doubts() {
                doubts.push(at_ms);
            }
            if at_ms == 1500 {
                silence.broken();
            }
        }
        assert_eq!(doubts, [1000, 1200, 1400]);
    }
}
