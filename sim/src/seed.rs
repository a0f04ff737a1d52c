//! Choices that follow from a seed.
//!
//! SplitMix64: small, fast, and every stream is named, so that one more choice in one place changes none elsewhere.

/// The output function of SplitMix64.
pub(crate) fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stream of choices.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of that name under a seed.
    pub fn new(seed: u64, stream: &str) -> Self {
        Rng(mix(seed ^ twox_hash::XxHash3_64::oneshot(stream.as_bytes())))
    }

    /// A stream of its own for a part of the work.
    pub fn fork(&mut self) -> Self {
        Rng(self.next())
    }

    /// 64 bits.
    #[allow(clippy::should_implement_trait)] // it never ends, so it is no iterator
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        // Widening multiply: the bias is below 2^-32 for every range used here.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// True in `n` of 10,000 cases.
    pub fn per_10_000(&mut self, n: u64) -> bool {
        self.below(10_000) < n
    }

    /// One of them. `of` has at least one.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// A number between `low` and `high` whose order of magnitude is evenly spread. `low` is at least 1.
    pub fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let (mut top, mut steps) = (low, 0);
        while top < high {
            top = top.saturating_mul(2);
            steps += 1;
        }
        let shift = self.below(steps + 1);
        let from = low << shift;
        self.between(from.min(high), (from * 2 - 1).min(high))
    }

    /// Puts `items` into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn choices_follow_from_seed_and_stream() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            std::array::from_fn::<u64, 8, _>(|_| rng.next())
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }

    #[test]
    fn ranges_are_kept_and_reached() {
        let mut rng = Rng::new(7, "ranges");
        let drawn: Vec<u64> = (0..1000).map(|_| rng.between(3, 6)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&6)));
        let drawn: Vec<u64> = (0..1000).map(|_| rng.magnitude(1, 1000)).collect();
        assert!(drawn.iter().all(|n| (1..=1000).contains(n)));
        assert!(drawn.iter().any(|n| *n < 4) && drawn.iter().any(|n| *n > 500));
    }
}
