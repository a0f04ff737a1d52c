//! What a run says at its end, for people and for the sweep.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::violation::{Sort, Violation};

/// How a run ended; also the exit code of `quorate-sim run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every check passed, and enough was checked.
    Clean,
    /// Nothing was found, in a run of which too little was checked.
    Unjudged,
    /// Something happened that must never happen.
    Safety,
    /// Something did not happen in time.
    Liveness,
    /// The product or the simulator panicked or was killed.
    Crash,
    /// Two runs of the seed differ.
    Nondeterminism,
}

impl Verdict {
    /// 0 clean, 10 safety, 11 liveness, 12 crash, 13 not deterministic, 14 not judged. 2 is left to a wrong command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Clean => 0,
            Verdict::Safety => 10,
            Verdict::Liveness => 11,
            Verdict::Crash => 12,
            Verdict::Nondeterminism => 13,
            Verdict::Unjudged => 14,
        }
    }

    /// The verdict of a process that ended with this code; a signal has none.
    pub fn from_exit_code(code: Option<i32>) -> Self {
        match code {
            Some(0) => Verdict::Clean,
            Some(10) => Verdict::Safety,
            Some(11) => Verdict::Liveness,
            Some(13) => Verdict::Nondeterminism,
            Some(14) => Verdict::Unjudged,
            _ => Verdict::Crash,
        }
    }
}

impl Verdict {
    /// Whether it says something about the product.
    pub fn is_judged(self) -> bool {
        !matches!(self, Verdict::Unjudged | Verdict::Crash)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Clean => "clean",
            Verdict::Unjudged => "not judged",
            Verdict::Safety => "safety violation",
            Verdict::Liveness => "liveness violation",
            Verdict::Crash => "crash",
            Verdict::Nondeterminism => "not deterministic",
        })
    }
}

/// How often each thing of a kind happened.
pub type Counts = BTreeMap<String, u64>;

/// The figures of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Real time, in milliseconds. Not part of what two runs of a seed share.
    pub real_ms: u64,
    /// Entries of the committed log.
    pub entries: u64,
    /// Writes whose answers were held against the log.
    pub writes: u64,
    /// Reads whose answers were held against the model.
    pub reads: u64,
    /// Messages handed to consumers, held against the log.
    pub deliveries: u64,
    /// Scans of a whole state.
    pub scans: u64,
    /// Rows of nodes that were compared with the log's in the end.
    pub rows: u64,
    /// What each check that knows only what clients saw had to look at.
    pub by_check: Counts,
    /// The most that a component of a host held, in bytes.
    pub held: Counts,
    /// The most rows that an entry touched.
    pub rows_most: u64,
    /// Calls by verb.
    pub calls: Counts,
    /// Answers by kind.
    pub answers: Counts,
    /// Faults by kind.
    pub faults: Counts,
    /// Odd behaviour by site.
    pub odd: Counts,
}

impl Figures {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Figures) {
        self.simulated_ms += other.simulated_ms;
        self.real_ms += other.real_ms;
        self.entries += other.entries;
        self.writes += other.writes;
        self.reads += other.reads;
        self.deliveries += other.deliveries;
        self.scans += other.scans;
        self.rows += other.rows;
        self.rows_most = self.rows_most.max(other.rows_most);
        for (name, most) in &other.held {
            let held = self.held.entry(name.clone()).or_default();
            *held = (*held).max(*most);
        }
        let pairs = [
            (&mut self.by_check, &other.by_check),
            (&mut self.calls, &other.calls),
            (&mut self.answers, &other.answers),
            (&mut self.faults, &other.faults),
            (&mut self.odd, &other.odd),
        ];
        for (sum, part) in pairs {
            for (name, count) in part {
                *sum.entry(name.clone()).or_default() += count;
            }
        }
    }
}

/// A run, at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// The first violation, or why it crashed.
    pub reason: Option<String>,
    /// The promise that was broken.
    pub promise: Option<String>,
    /// The check that saw it.
    pub check: Option<String>,
    /// How often the planted bug, if any, had its way.
    pub planted_hits: u64,
    /// Identifies everything that happened, byte for byte.
    pub trace: String,
    /// Identifies the files on the nodes' disks at the end.
    pub data: String,
    /// See [`Figures`].
    pub figures: Figures,
}

impl Summary {
    /// `shortfall` says why too little was checked, if it was.
    pub(crate) fn judge(&mut self, violations: &[Violation], shortfall: Option<String>) {
        let safety = violations.iter().find(|v| v.sort == Sort::Safety);
        let Some(first) = safety.or_else(|| violations.first()) else {
            if shortfall.is_some() {
                (self.verdict, self.reason) = (Verdict::Unjudged, shortfall);
            }
            return;
        };
        self.verdict = match first.sort {
            Sort::Safety => Verdict::Safety,
            Sort::Liveness => Verdict::Liveness,
        };
        self.reason = Some(first.to_string());
        self.promise = Some(first.promise.to_owned());
        self.check = Some(first.check.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn summary() -> Summary {
        Summary {
            seed: 1,
            verdict: Verdict::Clean,
            reason: None,
            promise: None,
            check: None,
            planted_hits: 0,
            trace: String::new(),
            data: String::new(),
            figures: Figures::default(),
        }
    }

    #[test]
    fn what_was_not_judged_is_not_clean_and_what_was_found_is_said_first() {
        let judged = |violations: &[Violation], shortfall: Option<&str>| {
            let mut summary = summary();
            summary.judge(violations, shortfall.map(str::to_owned));
            (summary.verdict, summary.reason.unwrap_or_default())
        };
        assert_eq!(judged(&[], None).0, Verdict::Clean);
        assert_eq!(judged(&[], Some("no read")), (Verdict::Unjudged, "no read".into()));
        let (sort, what, at) = (Sort::Liveness, "late".to_owned(), Duration::ZERO);
        let late = Violation { sort, promise: "P8", check: "drain", what, at };
        assert_eq!(judged(&[late], Some("no read")).0, Verdict::Liveness);
    }

    #[test]
    fn verdicts_are_told_by_their_exit_codes_and_none_but_clean_is_success() {
        use Verdict::{Clean, Crash, Liveness, Nondeterminism, Safety, Unjudged};
        for verdict in [Clean, Unjudged, Safety, Liveness, Crash, Nondeterminism] {
            assert_eq!(Verdict::from_exit_code(Some(verdict.exit_code().into())), verdict);
            assert_eq!(verdict.exit_code() == 0, verdict == Clean);
            assert!(verdict >= Clean);
        }
    }
}
