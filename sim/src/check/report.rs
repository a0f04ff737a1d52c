//! Where the checks put what they find.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::violation::{Sort, Violation};

/// One broken thing breaks many: so many of a check are kept.
const KEPT_PER_CHECK: u64 = 8;
/// What a check saw may hold bodies.
const WHAT_CHARS_MAX: usize = 1200;

/// The violations so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    violations: Vec<Violation>,
    found: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Something happened that must never happen.
    pub(super) fn safety(
        &mut self,
        promise: &'static str,
        check: &'static str,
        at: Duration,
        what: impl Into<String>,
    ) {
        self.add(Sort::Safety, promise, check, at, what.into());
    }

    /// Something did not happen in time.
    pub(super) fn liveness(
        &mut self,
        promise: &'static str,
        check: &'static str,
        at: Duration,
        what: impl Into<String>,
    ) {
        self.add(Sort::Liveness, promise, check, at, what.into());
    }

    fn add(&mut self, sort: Sort, promise: &'static str, check: &'static str, at: Duration, what: String) {
        let found = self.found.entry(check).or_default();
        *found += 1;
        if *found <= KEPT_PER_CHECK {
            let what = match what.char_indices().nth(WHAT_CHARS_MAX) {
                Some((end, _)) => format!("{}…", &what[..end]),
                None => what,
            };
            self.violations.push(Violation { sort, promise, check, what, at });
        }
    }

    /// The first of each check.
    pub(super) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many there were, with those that are not kept.
    pub(super) fn found(&self) -> u64 {
        self.found.values().sum()
    }

    /// The names of the checks that found something, for tests.
    #[cfg(test)]
    pub(super) fn checks(&self) -> Vec<&'static str> {
        self.found.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let mut report = Report::default();
        for _ in 0..100 {
            report.safety("P2", "flood", Duration::ZERO, "ä".repeat(5000));
        }
        assert_eq!((report.violations().len() as u64, report.found()), (KEPT_PER_CHECK, 100));
        assert!(report.violations()[0].what.chars().count() <= WHAT_CHARS_MAX + 1);
    }
}
