//! The tokens that were seen: they count the leases of a subscription from 1, so what was not seen can be counted too.

use crate::check::past::QueuePast;

/// The tokens of all deliveries, in order, each once.
pub(super) struct Tokens(Vec<u64>);

impl Tokens {
    pub(super) fn of(queue: &QueuePast<'_>) -> Self {
        let mut tokens: Vec<u64> = queue.deliveries.iter().map(|delivery| delivery.token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        Tokens(tokens)
    }

    /// How many leases between two tokens, both excluded, nobody saw.
    pub(super) fn unseen(&self, after: u64, before: u64) -> u64 {
        let from = self.0.partition_point(|token| *token <= after);
        let to = self.0.partition_point(|token| *token < before);
        before.saturating_sub(after + 1) - (to.saturating_sub(from)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Tokens;

    #[test]
    fn what_was_not_seen_is_counted() {
        let tokens = Tokens(vec![2, 3, 7]);
        assert_eq!(
            (tokens.unseen(0, 2), tokens.unseen(0, 8), tokens.unseen(2, 3), tokens.unseen(3, 7)),
            (1, 4, 0, 3)
        );
    }
}
