//! What became of the input, and how that is told.

use quorate_client::{Error, Receipt};
use serde_json::json;

use crate::cli::Failure;
use crate::cli::output::{Format, print_json, print_line};

/// Counts receipts and remembers the first failure.
#[derive(Default)]
pub(super) struct Report {
    /// The input is one message, which has no lines.
    whole: bool,
    /// Messages with a receipt.
    pub(super) published: u64,
    duplicates: u64,
    first_position: u64,
    last_position: u64,
    /// Every line up to this one has its receipt.
    complete_to: u64,
    /// First line without a receipt, and why.
    pub(super) failed: Option<(u64, Error)>,
    /// First line whose outcome is unknown.
    unknown_from: Option<u64>,
    pub(super) seconds: f64,
}

impl Report {
    /// Of one message, or of one a line.
    pub(super) fn of(whole: bool) -> Self {
        Self { whole, ..Self::default() }
    }

    pub(super) fn stored(&mut self, line: u64, receipt: Receipt) {
        self.published += 1;
        self.duplicates += u64::from(receipt.duplicate);
        self.first_position = match self.first_position {
            0 => receipt.position,
            first => first.min(receipt.position),
        };
        self.last_position = self.last_position.max(receipt.position);
        if self.failed.is_none() {
            self.complete_to = line;
        }
    }

    pub(super) fn sent_and_failed(&mut self, line: u64, error: Error) {
        if self.unknown_from.is_none() && matches!(error, Error::Unknown { .. }) {
            self.unknown_from = Some(line);
        }
        self.not_sent(line, error);
    }

    pub(super) fn not_sent(&mut self, line: u64, error: Error) {
        // Lines are answered in their order, but the refusal of a later one may have stopped the input first.
        if self.failed.as_ref().is_none_or(|(first, _)| line < *first) {
            self.failed = Some((line, error));
        }
    }

    /// Says what was stored, and ends as the run did.
    pub(super) fn end(self, ended: Result<(), Failure>, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => print_json(&json!({
                "published": self.published,
                "duplicates": self.duplicates,
                "first_position": self.first_position,
                "last_position": self.last_position,
                "seconds": (self.seconds * 1000.0).round() / 1000.0,
            }))?,
            Format::Table => match self.published {
                0 => {}
                1 if self.duplicates == 1 => {
                    print_line(&format!("position {} had it already", self.first_position))?;
                }
                1 => print_line(&format!("stored at position {}", self.first_position))?,
                n => {
                    let known = match self.duplicates {
                        0 => String::new(),
                        known => format!(", {known} of them before"),
                    };
                    print_line(&format!(
                        "{n} messages stored at positions {} to {}{known}",
                        self.first_position, self.last_position
                    ))?;
                }
            },
        }
        if self.whole {
            // There is nothing to tell apart.
            return self.failed.map_or(ended, |(_, error)| Err(error.into()));
        }
        let progress = self.progress();
        match (self.failed, ended) {
            (None, Ok(())) => Ok(()),
            (None, Err(failure)) => Err(Failure { what: format!("{}; {progress}", failure.what), ..failure }),
            (Some((line, error)), _) => {
                let failure = Failure::from(error);
                let what = format!("line {line}: {}; {progress}", failure.what);
                Err(Failure { what, ..failure })
            }
        }
    }

    fn progress(&self) -> String {
        let mut text = format!("{} messages have receipts", self.published);
        if self.complete_to > 0 {
            text.push_str(&format!(", all lines up to {} among them", self.complete_to));
        }
        match self.unknown_from {
            Some(line) => text.push_str(&format!("; from line {line} on the outcome is unknown")),
            None => text.push_str("; nothing else was stored"),
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_failure_says_what_has_receipts_and_what_is_unknown() {
        let mut report = Report::default();
        report.stored(1, Receipt { position: 7, duplicate: false });
        report.stored(2, Receipt { position: 8, duplicate: true });
        let no_leader = Error::NoLeader { waited: Duration::from_secs(30), answers: Vec::new() };
        report.sent_and_failed(3, Error::Unknown { cause: Box::new(no_leader.clone()) });
        report.not_sent(4, no_leader);
        let failure = report.end(Ok(()), Format::Table).unwrap_err();
        assert_eq!(failure.code, 4);
        assert!(failure.what.starts_with("line 3: "), "{}", failure.what);
        assert!(failure.what.contains("2 messages have receipts, all lines up to 2"), "{}", failure.what);
        assert!(failure.what.contains("from line 3 on the outcome is unknown"), "{}", failure.what);
    }
}
