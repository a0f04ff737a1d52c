//! How a command fails: what happened and why, what to do, and with which exit code.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use quorate_client::{Details, Error};
use serde_json::{Value, json};

use super::output::{Format, errors_are_coloured};

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened and why.
    pub what: String,
    /// What to do about it; empty if there is nothing to say.
    pub action: String,
    /// The stable name of the reason, where the cluster gave one.
    pub reason: Option<String>,
    /// The facts by their names, where the cluster gave some.
    pub details: Details,
    /// Names that may have been meant, where one is not known.
    pub meant: Vec<String>,
    /// Whether the same command may succeed later without a change.
    pub retry: bool,
    /// 1 refused or failed, 2 wrong usage, 3 ran out of time, 4 no leader or no connection; a node has three more: see
    /// [`crate::cli`].
    pub code: u8,
}

impl Failure {
    /// Refused or failed.
    pub fn new(what: impl Into<String>, action: impl Into<String>) -> Self {
        let (what, action) = (what.into(), action.into());
        let details = Details::default();
        Self { what, action, reason: None, details, meant: Vec::new(), retry: false, code: 1 }
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

    /// Refused, for a reason with a stable name, and a fact of it.
    #[must_use]
    pub(super) fn because(mut self, reason: &str, (detail, value): (&str, &str)) -> Self {
        self.details = [(detail, value)].into_iter().collect();
        self.what = format!("{} ({reason})", self.what);
        self.reason = Some(reason.to_owned());
        self
    }

    /// Asks something, before the reason.
    pub(super) fn ask(&mut self, question: &str) {
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        let said = self.what.strip_suffix(&reason).unwrap_or(&self.what);
        self.what = format!("{said}; {question}{reason}");
    }

    /// Whether it may pass by itself: the leader was lost, time ran out, or the cluster says so.
    pub(super) fn may_pass(&self) -> bool {
        self.retry || matches!(self.code, 3 | 4)
    }

    /// Says it on standard error.
    pub(super) fn report(&self, format: Format) -> ExitCode {
        // If it cannot be said there is nobody to say that to.
        let _ = std::io::stderr().lock().write_all(self.told(format).as_bytes());
        ExitCode::from(self.code)
    }

    /// As standard error shows it.
    pub(super) fn told(&self, format: Format) -> String {
        match format {
            Format::Json => format!("{}\n", self.to_json()),
            Format::Table => self.for_people(errors_are_coloured()),
        }
    }

    /// One or two lines.
    pub(super) fn for_people(&self, coloured: bool) -> String {
        let (on, off) = if coloured { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        let first = format!("{on}error:{off} {}\n", self.what);
        match self.action.as_str() {
            "" => first,
            action => format!("{first}  what to do: {action}\n"),
        }
    }

    fn to_json(&self) -> Value {
        let mut object = json!({
            "error": self.what,
            "reason": self.reason,
            "action": self.action,
            "details": self.details.iter().collect::<BTreeMap<_, _>>(),
            "retry": self.retry,
            "exit": self.code,
        });
        if !self.meant.is_empty() {
            object["did_you_mean"] = self.meant.clone().into();
        }
        object
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
        let shown = match &error {
            Error::Refused(refusal) => format!(" ({})", refusal.reason),
            _ => String::new(),
        };
        Self {
            what: format!("{error}{shown}"),
            action: action(&error),
            reason: error.reason().map(ToString::to_string),
            details: error.details().cloned().unwrap_or_default(),
            meant: Vec::new(),
            retry: error.retryable(),
            code,
        }
    }
}

/// What to do, where the command line knows more than the client.
fn action(error: &Error) -> String {
    match error {
        Error::NoLeader { .. } => {
            "check that --endpoint, or the variable QUORATE_ENDPOINT, names nodes of a cluster that runs, and that a \
             majority of them reach each other, then try again; `quorate dev` runs a cluster to try things with"
                .into()
        }
        Error::Protocol(_) => {
            "check that --endpoint names the port for clients, 7400 by default, and neither that for peers nor that for \
             HTTP, and that this command and the nodes have versions that go together"
                .into()
        }
        error => error.action(),
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
            details: [("queue", "q")].into_iter().collect(),
            unmet: None,
        });
        assert_eq!(Failure::from(refused.clone()).what, "there is no queue \"q\" (UNKNOWN_QUEUE)");
        assert_eq!(Failure::from(refused.clone()).action, "create it");
        let told: Value = serde_json::from_str(&Failure::from(refused.clone()).told(Format::Json)).unwrap();
        let error = "there is no queue \"q\" (UNKNOWN_QUEUE)";
        let reason = "UNKNOWN_QUEUE";
        let told_as = json!({"error": error, "reason": reason, "action": "create it", "retry": false, "exit": 1, "details": {"queue": "q"}});
        assert_eq!(told, told_as);
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
