//! Checks a run: every confirmed message is received exactly once, in the order of its producer.

use parking_lot::Mutex;

/// What each producer had confirmed and what was received of it.
pub(super) struct Tracker {
    producers: Vec<Mutex<One>>,
}

#[derive(Default)]
struct One {
    confirmed: Bits,
    received: Bits,
    /// Deliveries of messages that had been received before.
    repeated: u64,
    /// Messages whose body names no producer of this run, or a sequence number out of the order of positions.
    disordered: u64,
}

#[derive(Default)]
struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    /// Sets a bit; false if it was set.
    fn set(&mut self, at: u64) -> bool {
        let word = usize::try_from(at / 64).expect("a run has fewer messages than memory has bits");
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (at % 64);
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(fresh);
        fresh
    }

    fn within(&self, other: &Self) -> bool {
        let word = |i: usize| other.words.get(i).copied().unwrap_or(0);
        self.words.iter().enumerate().all(|(i, bits)| bits & !word(i) == 0)
    }
}

impl Tracker {
    pub(super) fn new(producers: u32) -> Self {
        Self { producers: (0..producers).map(|_| Mutex::default()).collect() }
    }

    pub(super) fn confirmed(&self, producer: u32, seq: u64) {
        if let Some(one) = self.producers.get(producer as usize) {
            one.lock().confirmed.set(seq);
        }
    }

    /// Notes a delivery; true if it is the message's first.
    pub(super) fn received(&self, producer: u32, seq: u64) -> bool {
        let Some(one) = self.producers.get(producer as usize) else { return false };
        let mut one = one.lock();
        let first = one.received.set(seq);
        one.repeated += u64::from(!first);
        first
    }

    pub(super) fn disordered(&self, producer: u32) {
        if let Some(one) = self.producers.get(producer as usize) {
            one.lock().disordered += 1;
        }
    }

    /// Whether everything confirmed was received.
    pub(super) fn is_complete(&self) -> bool {
        self.producers.iter().all(|one| {
            let one = one.lock();
            one.confirmed.count <= one.received.count && one.confirmed.within(&one.received)
        })
    }

    pub(super) fn received_count(&self) -> u64 {
        self.producers.iter().map(|one| one.lock().received.count).sum()
    }

    /// Whether the run kept the promises. A message may come again only where its settle failed.
    pub(super) fn verdict(&self, failed_settles: u64) -> bool {
        let repeated: u64 = self.producers.iter().map(|one| one.lock().repeated).sum();
        let disordered: u64 = self.producers.iter().map(|one| one.lock().disordered).sum();
        self.is_complete() && repeated <= failed_settles && disordered == 0
    }
}

/// The order of one producer's messages as one consumer sees them.
#[derive(Clone, Copy, Default)]
pub(super) struct LastSeen {
    position: u64,
    seq: u64,
}

impl LastSeen {
    /// Notes a first delivery; false if positions and sequence numbers disagree.
    pub(super) fn follows(&mut self, position: u64, seq: u64) -> bool {
        let ordered = self.position == 0 || (position > self.position) == (seq > self.seq);
        *self = Self { position, seq };
        ordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_a_repeated_and_a_swapped_message_are_found() {
        let tracker = Tracker::new(1);
        for seq in 0..200 {
            tracker.confirmed(0, seq);
            if seq != 130 {
                assert!(tracker.received(0, seq));
            }
        }
        assert!(!tracker.is_complete());
        assert!(tracker.received(0, 130));
        assert!(tracker.is_complete() && tracker.verdict(0));
        assert!(!tracker.received(0, 130));
        assert!(!tracker.verdict(0) && tracker.verdict(1));
        tracker.disordered(0);
        assert!(!tracker.verdict(1));
    }

    #[test]
    fn order_is_judged_by_position() {
        let mut seen = LastSeen::default();
        assert!(seen.follows(5, 0) && seen.follows(7, 1) && seen.follows(6, 0));
        assert!(!seen.follows(8, 0));
    }

    #[test]
    fn what_was_received_without_a_receipt_is_no_fault() {
        let tracker = Tracker::new(1);
        tracker.received(0, 0);
        assert!(tracker.verdict(0));
        tracker.confirmed(0, 1);
        assert!(!tracker.verdict(0), "as many were received as confirmed, but not the same");
    }
}
