//! What a run says at its end, for people and for the sweep.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::violation::{Sort, Violation};

/// How a run ended; also the exit code of `quorate-sim run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every check passed.
    Clean,
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
    /// 0 clean, 10 safety, 11 liveness, 12 crash, 13 not deterministic. 2 is left to a wrong command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Clean => 0,
            Verdict::Safety => 10,
            Verdict::Liveness => 11,
            Verdict::Crash => 12,
            Verdict::Nondeterminism => 13,
        }
    }

    /// The verdict of a process that ended with this code; a signal has none.
    pub fn from_exit_code(code: Option<i32>) -> Self {
        match code {
            Some(0) => Verdict::Clean,
            Some(10) => Verdict::Safety,
            Some(11) => Verdict::Liveness,
            Some(13) => Verdict::Nondeterminism,
            _ => Verdict::Crash,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Clean => "clean",
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
    /// Operations whose answers were checked.
    pub checked: u64,
    /// Messages handed to consumers.
    pub deliveries: u64,
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
        self.checked += other.checked;
        self.deliveries += other.deliveries;
        let pairs = [
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
    pub(crate) fn judge(&mut self, violations: &[Violation]) {
        let safety = violations.iter().find(|v| v.sort == Sort::Safety);
        let Some(first) = safety.or_else(|| violations.first()) else { return };
        self.verdict = match first.sort {
            Sort::Safety => Verdict::Safety,
            Sort::Liveness => Verdict::Liveness,
        };
        self.reason = Some(first.to_string());
        self.promise = Some(first.promise.to_owned());
        self.check = Some(first.check.to_owned());
    }
}
