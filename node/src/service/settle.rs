//! Settles as clients give them, and the reasons of failures in them.

use std::collections::BTreeMap;

use quorate_machine::command::{self, Outcome};
use quorate_machine::limits::{REASON_BYTES_MAX, SETTLE_RANGES_MAX};
use quorate_machine::reply::Refusal;

/// What is to become of consecutive messages that a consumer holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// Position of the first message.
    pub first_position: u64,
    /// How many.
    pub count: u32,
    /// Token of the first; the others follow.
    pub first_token: u64,
    /// What becomes of them. One that is not specified is refused.
    pub outcome: Outcome,
    /// With [`Outcome::Retry`], after how long, and with [`Outcome::Extend`], for how long, in milliseconds; 0: as the
    /// subscription has it.
    pub delay_ms: u64,
    /// With [`Outcome::Retry`] and [`Outcome::Park`]: why.
    pub reason: String,
}

/// A settle of a consumer. Its ranges share the reasons that they have in common.
///
/// # Errors
/// There are too many ranges.
pub(super) fn settle(
    consumer: u64,
    ranges: Vec<Range>,
    mut reasons: Reasons,
) -> Result<command::Settle, Refusal> {
    check_count(ranges.len())?;
    let ranges = ranges.into_iter().map(|range| with_number(range, &mut reasons)).collect();
    Ok(command::Settle { consumer, ranges, reasons: reasons.into_list() })
}

/// Whether a settle may have so many ranges. An edge asks before it takes them apart.
///
/// # Errors
/// They are too many.
pub fn check_count(ranges: usize) -> Result<(), Refusal> {
    at_most("ranges", ranges, SETTLE_RANGES_MAX)
}

/// Counts are looked at before anything is done for what they count.
pub(super) fn at_most(field: &'static str, found: usize, limit: usize) -> Result<(), Refusal> {
    Refusal::unless_at_most(field, found, limit, "at once")
}

/// A range with the number of its reason.
pub(super) fn with_number(range: Range, reasons: &mut Reasons) -> command::SettleRange {
    let Range { first_position, count, first_token, outcome, delay_ms, reason } = range;
    let (outcome, reason) = (outcome.into(), reasons.number(reason));
    command::SettleRange { first_position, count, first_token, outcome, delay_ms, reason }
}

/// The reasons that ranges have in common, each once.
pub(super) struct Reasons {
    numbers: BTreeMap<String, u32>,
    are_kept: bool,
}

impl Reasons {
    /// None yet. Those that are not kept are forgotten as they come.
    pub(super) fn new(are_kept: bool) -> Self {
        Self { numbers: BTreeMap::new(), are_kept }
    }

    /// The number of a reason, counted from 1; 0 if there is none.
    fn number(&mut self, reason: String) -> u32 {
        if reason.len() > REASON_BYTES_MAX {
            return command::SettleRange::REASON_TOO_LONG;
        }
        if reason.is_empty() || !self.are_kept {
            return 0;
        }
        // As many as there are ranges at most.
        let next = u32::try_from(self.numbers.len() + 1).unwrap_or(command::SettleRange::REASON_TOO_LONG);
        *self.numbers.entry(reason).or_insert(next)
    }

    /// In the order of their numbers.
    pub(super) fn into_list(self) -> Vec<String> {
        let mut list = vec![String::new(); self.numbers.len()];
        for (reason, number) in self.numbers {
            list[number as usize - 1] = reason;
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(reason: &str) -> Range {
        Range { count: 1, reason: reason.into(), ..Range::default() }
    }

    #[test]
    fn reasons_are_shared_and_keep_the_order_in_which_they_came() {
        let long = "x".repeat(REASON_BYTES_MAX + 1);
        let ranges = ["b", "", "a", "b", &long, "a", &long[1..]].map(range).to_vec();
        let numbers = |settle: &command::Settle| -> Vec<u32> {
            settle.ranges.iter().map(|range| range.reason).collect()
        };
        let kept = settle(7, ranges.clone(), Reasons::new(true)).expect("few");
        assert_eq!(numbers(&kept), [1, 0, 2, 1, command::SettleRange::REASON_TOO_LONG, 2, 3]);
        assert_eq!(kept.reasons, ["b", "a", &long[1..]]);
        let forgotten = settle(7, ranges, Reasons::new(false)).expect("few");
        let unlawful = command::SettleRange::REASON_TOO_LONG;
        assert_eq!(numbers(&forgotten), [0, 0, 0, 0, unlawful, 0, 0], "unlawful in any case");
        assert!(forgotten.reasons.is_empty());
    }

    #[test]
    fn more_ranges_than_may_be_are_not_looked_at() {
        let ranges = vec![range("r"); SETTLE_RANGES_MAX + 1];
        assert!(settle(7, ranges, Reasons::new(true)).is_err());
    }
}
