//! What a run can find.

use std::fmt;
use std::time::Duration;

/// What sort of promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// Something happened that must never happen.
    Safety,
    /// Something did not happen in time.
    Liveness,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What sort.
    pub sort: Sort,
    /// The promise, as `P1` to `P12`.
    pub promise: &'static str,
    /// The check that saw it.
    pub check: &'static str,
    /// What it saw.
    pub what: String,
    /// When it was seen or, if that is known, when it happened.
    pub at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = match self.sort {
            Sort::Safety => "safety",
            Sort::Liveness => "liveness",
        };
        write!(f, "{sort} {} [{}] at {:.3} s: {}", self.promise, self.check, self.at.as_secs_f64(), self.what)
    }
}
