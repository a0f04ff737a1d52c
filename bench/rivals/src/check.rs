//! Checks a run: what was confirmed has arrived.

use parking_lot::Mutex;

/// What each producer had confirmed and what was received of it.
pub struct Check {
    producers: Vec<Mutex<One>>,
}

#[derive(Default)]
struct One {
    confirmed: Numbers,
    received: Numbers,
    repeated: u64,
}

/// A set of sequence numbers, a bit for each.
#[derive(Default)]
struct Numbers {
    words: Vec<u64>,
    count: u64,
}

impl Numbers {
    /// Adds a number; false if it was there.
    fn add(&mut self, number: u64) -> bool {
        let word = (number / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (number % 64);
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(fresh);
        fresh
    }

    /// How many of these are not in `other`.
    fn without(&self, other: &Self) -> u64 {
        let other = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter().zip(other).map(|(word, other)| u64::from((word & !other).count_ones())).sum()
    }
}

impl Check {
    /// Nothing was sent yet.
    pub fn new(producers: u32) -> Self {
        Self { producers: (0..producers).map(|_| Mutex::default()).collect() }
    }

    /// Notes a confirmation.
    pub fn confirmed(&self, producer: u32, seq: u64) {
        if let Some(one) = self.producers.get(producer as usize) {
            one.lock().confirmed.add(seq);
        }
    }

    /// Notes a delivery; true if it is the message's first.
    pub fn received(&self, producer: u32, seq: u64) -> bool {
        let Some(one) = self.producers.get(producer as usize) else { return false };
        let mut one = one.lock();
        let first = one.received.add(seq);
        one.repeated += u64::from(!first);
        first
    }

    /// How many messages were received, each counted once.
    pub fn received_count(&self) -> u64 {
        self.sum(|one| one.received.count)
    }

    /// How many messages were confirmed.
    pub fn confirmed_count(&self) -> u64 {
        self.sum(|one| one.confirmed.count)
    }

    /// How many messages were received again. That is allowed wherever delivery is "at least once".
    pub fn repeated(&self) -> u64 {
        self.sum(|one| one.repeated)
    }

    /// How many messages were confirmed and never received.
    pub fn missing(&self) -> u64 {
        self.sum(|one| one.confirmed.without(&one.received))
    }

    fn sum(&self, of: impl Fn(&One) -> u64) -> u64 {
        self.producers.iter().map(|one| of(&one.lock())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_and_a_repeated_message_are_found() {
        let check = Check::new(2);
        for seq in 0..200 {
            check.confirmed(1, seq);
            if seq != 130 {
                assert!(check.received(1, seq));
            }
        }
        assert_eq!((check.missing(), check.repeated()), (1, 0));
        assert!(check.received(1, 130) && !check.received(1, 130));
        assert_eq!((check.missing(), check.repeated()), (0, 1));
        assert!(check.received(0, 7), "what has no confirmation may arrive");
        assert_eq!((check.missing(), check.received_count(), check.confirmed_count()), (0, 201, 200));
    }
}
