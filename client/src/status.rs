//! Reads what servers answer: from a gRPC status or a refusal to what the client does about it.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::connect::Address;
use crate::error::{Details, Error, Reason, Refusal, Unmet};

/// What an unsuccessful answer means for the call.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It stands: trying again changes nothing.
    Certain(Error),
    /// Another node leads.
    Elsewhere { leader: Option<Address>, answer: String },
    /// Try again, here or elsewhere. `applied` says whether the request may have taken effect.
    Again { answer: String, applied: bool, busy: bool },
}

/// Judges a status.
pub(crate) fn judge(status: &Status) -> Verdict {
    let Some(info) =
        status.get_details_error_info().filter(|info| info.domain == quorate_proto::ERROR_DOMAIN)
    else {
        return judge_bare(status);
    };
    let mut details: Details = info.metadata.into_iter().collect();
    let (action, retry) = (details.take("action"), details.take("retry"));
    let field = |name: &str| details.get(name).unwrap_or_default().to_owned();
    if Reason::from_wire(&info.reason) == Reason::NotLeader {
        return elsewhere(&field("leader_addr"), &field("leader_name"));
    }
    judge_refusal(Refusal {
        reason: Reason::from_wire(&info.reason),
        message: status.message().to_owned(),
        action: action.unwrap_or_default(),
        retry: retry.is_some_and(|retry| retry == "true"),
        unmet: unmet(&details),
        details,
    })
}

/// What a transaction needed, from the details of a status.
fn unmet(details: &Details) -> Option<Unmet> {
    let (nth, found) = (details.get("nth")?.parse().ok()?, details.get("found")?);
    let found = found.parse().ok()?;
    match details.get("part")? {
        "require" => Some(Unmet::Require { nth, found }),
        "settle" => Some(Unmet::Lease { nth, position: found }),
        _ => None,
    }
}

/// Judges a refusal that stands in a stream.
pub(crate) fn judge_refusal(refusal: Refusal) -> Verdict {
    let answer = || format!("answers {}: {refusal}", refusal.reason);
    match refusal.reason {
        Reason::NotLeader => Verdict::Elsewhere { leader: None, answer: "does not lead".into() },
        Reason::NoQuorum => Verdict::Again {
            answer: "has no quorum: a majority does not answer it".into(),
            applied: false,
            busy: false,
        },
        Reason::Unknown => Verdict::Again { answer: answer(), applied: true, busy: false },
        Reason::ShuttingDown => {
            Verdict::Again { answer: "is shutting down".into(), applied: false, busy: false }
        }
        Reason::Overloaded => Verdict::Again { answer: answer(), applied: false, busy: true },
        _ => Verdict::Certain(Error::Refused(refusal)),
    }
}

/// The refusal of a part of a request.
pub(crate) fn refusal(refusal: Option<quorate_proto::v1::Refusal>) -> Refusal {
    let wire = refusal.unwrap_or_default();
    let details: Details = wire.details.into_iter().collect();
    Refusal {
        reason: Reason::from_wire(&wire.reason),
        message: wire.message,
        action: wire.action,
        retry: wire.retry,
        unmet: unmet(&details),
        details,
    }
}

fn elsewhere(leader_addr: &str, leader_name: &str) -> Verdict {
    let leader = Address::parse(leader_addr).ok().filter(|_| !leader_addr.is_empty());
    let answer = match &leader {
        Some(_) if !leader_name.is_empty() => {
            format!("does not lead; it names {leader_name} at {leader_addr}")
        }
        Some(_) => format!("does not lead; it names {leader_addr}"),
        None => "knows no leader".into(),
    };
    Verdict::Elsewhere { leader, answer }
}

/// A status without our details comes from the transport, or from something that is no Quorate server.
fn judge_bare(status: &Status) -> Verdict {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::Aborted => {
            Verdict::Again {
                answer: format!("does not answer: {}", root_cause(status)),
                applied: !never_connected(status),
                busy: false,
            }
        }
        Code::DeadlineExceeded => {
            Verdict::Again { answer: "does not answer in time".into(), applied: true, busy: false }
        }
        code => Verdict::Certain(Error::Protocol(format!("{code}: {}", status.message()))),
    }
}

/// The innermost error says most: "Connection refused" rather than "transport error".
fn root_cause(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

fn never_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tonic_types::ErrorDetails;

    fn status(reason: &str, metadata: &[(&str, &str)]) -> Status {
        let metadata: HashMap<String, String> =
            metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Status::with_error_details(
            Code::Unavailable,
            "message",
            ErrorDetails::with_error_info(reason, quorate_proto::ERROR_DOMAIN, metadata),
        )
    }

    #[test]
    fn not_leader_names_the_leader() {
        let verdict = judge(&status("NOT_LEADER", &[("leader_addr", "n2:7400"), ("leader_name", "n2")]));
        let Verdict::Elsewhere { leader: Some(leader), answer } = verdict else { panic!("{verdict:?}") };
        assert_eq!(leader.as_str(), "n2:7400");
        assert_eq!(answer, "does not lead; it names n2 at n2:7400");
        let verdict = judge(&status("NOT_LEADER", &[("leader_addr", "")]));
        assert!(matches!(verdict, Verdict::Elsewhere { leader: None, .. }), "{verdict:?}");
    }

    #[test]
    fn certain_refusals_carry_what_to_do() {
        let verdict = judge(&status("UNKNOWN_QUEUE", &[("action", "create it"), ("retry", "false")]));
        let Verdict::Certain(error) = verdict else { panic!("{verdict:?}") };
        assert_eq!(error.reason(), Some(&Reason::UnknownQueue));
        assert_eq!(error.action(), "create it");
        assert!(!error.retryable());
    }

    #[test]
    fn what_may_have_happened_is_told_from_what_did_not() {
        for (reason, applied) in
            [("NO_QUORUM", false), ("UNKNOWN", true), ("SHUTTING_DOWN", false), ("OVERLOADED", false)]
        {
            let verdict = judge(&status(reason, &[]));
            assert!(matches!(verdict, Verdict::Again { applied: a, .. } if a == applied), "{verdict:?}");
        }
    }

    #[test]
    fn a_foreign_server_is_not_retried_for_ever() {
        assert!(matches!(judge(&Status::unimplemented("no")), Verdict::Certain(Error::Protocol(_))));
    }
}
