//! How a command fails: what happened and why, what to do, and with which exit code.

use std::io::Write as _;
use std::process::ExitCode;

use quorate_client::Error;

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened and why.
    pub what: String,
    /// What to do about it; empty if there is nothing to say.
    pub action: String,
    /// 1 refused or failed, 2 wrong usage, 3 ran out of time, 4 no leader or no connection.
    pub code: u8,
}

impl Failure {
    /// Refused or failed.
    pub fn new(what: impl Into<String>, action: impl Into<String>) -> Self {
        Self { what: what.into(), action: action.into(), code: 1 }
    }

    /// Wrong usage.
    pub fn usage(what: impl Into<String>, action: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(what, action) }
    }

    /// Ran out of time.
    pub fn time(what: impl Into<String>, action: impl Into<String>) -> Self {
        Self { code: 3, ..Self::new(what, action) }
    }

    /// Puts what the command was about in front.
    #[must_use]
    pub fn about(mut self, subject: &str) -> Self {
        self.what = format!("{subject}: {}", self.what);
        self
    }

    /// Says it on standard error.
    pub fn report(&self) -> ExitCode {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "error: {}", self.what);
        if !self.action.is_empty() {
            let _ = writeln!(stderr, "  what to do: {}", self.action);
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Config(_) => 2,
            error if error.is_no_leader() => 4,
            error if error.is_out_of_time() => 3,
            _ => 1,
        };
        let reason = match &error {
            Error::Refused(refusal) => format!(" ({})", refusal.reason),
            _ => String::new(),
        };
        Self { what: format!("{error}{reason}"), action: error.action(), code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_client::{Reason, Refusal};
    use std::time::Duration;

    #[test]
    fn every_kind_has_its_exit_code() {
        let no_leader = Error::NoLeader { waited: Duration::from_secs(1), answers: Vec::new() };
        let late = Error::OutOfTime { waited: Duration::from_secs(1), last: String::new() };
        let refused = Error::Refused(Refusal {
            reason: Reason::UnknownQueue,
            message: "there is no queue \"q\"".into(),
            action: "create it".into(),
            retry: false,
            unmet: None,
        });
        assert_eq!(Failure::from(refused.clone()).what, "there is no queue \"q\" (UNKNOWN_QUEUE)");
        assert_eq!(Failure::from(refused.clone()).action, "create it");
        for (error, code) in [
            (refused, 1),
            (Error::Config("x".into()), 2),
            (late, 3),
            (Error::Unknown { cause: Box::new(no_leader.clone()) }, 4),
            (no_leader, 4),
        ] {
            assert_eq!(Failure::from(error).code, code);
        }
    }
}
