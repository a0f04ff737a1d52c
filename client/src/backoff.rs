//! How long to wait between attempts.

use std::time::Duration;

use crate::random::Random;

const FIRST: Duration = Duration::from_millis(10);
const LAST: Duration = Duration::from_millis(500);

/// Grows by half from 10 ms to 500 ms; each wait is between one half and the whole of it, so that clients
/// which lost the same leader don't come back at once.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }

    pub(crate) fn wait(&mut self, random: &dyn Random) -> Duration {
        let whole = self.next;
        self.next = (whole * 3 / 2).min(LAST);
        let half_us = u64::try_from(whole.as_micros() / 2).expect("half a second fits").max(1);
        whole / 2 + Duration::from_micros(random.next_u64() % half_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn waits_grow_up_to_the_bound() {
        let mut backoff = Backoff::new();
        let first = backoff.wait(&SystemRandom);
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        for _ in 0..20 {
            backoff.wait(&SystemRandom);
        }
        let late = backoff.wait(&SystemRandom);
        assert!(late >= LAST / 2 && late <= LAST, "{late:?}");
        backoff.reset();
        assert!(backoff.wait(&SystemRandom) <= FIRST);
    }
}
