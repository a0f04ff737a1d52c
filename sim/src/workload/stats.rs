//! What a workload has done, counted from the history.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{Answer, Call, Event, How, What};

/// Calls by verb and by answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WorkloadStats {
    /// How often a call of that verb got an answer of that sort; `none` for those without one.
    pub(crate) calls: BTreeMap<(&'static str, &'static str), u64>,
    /// Messages that consumers were handed.
    pub(crate) deliveries: u64,
    /// Deliveries whose body was not what its publisher made.
    pub(crate) damaged: u64,
    /// Calls that the client did not end within its own bounds.
    pub(crate) hung: u64,
}

impl WorkloadStats {
    pub(super) fn of(events: &[Event], hung: u64) -> Self {
        let mut stats = WorkloadStats { hung, ..WorkloadStats::default() };
        let mut open = BTreeMap::new();
        for event in events {
            match &event.what {
                What::Invoke(op, call) => {
                    open.insert(*op, verb(call));
                }
                What::Return(op, answer) => {
                    let verb = open.remove(op).unwrap_or("unknown");
                    *stats.calls.entry((verb, sort(answer))).or_default() += 1;
                }
                What::Delivered { bytes, .. } => {
                    stats.deliveries += 1;
                    stats.damaged += u64::from(*bytes == 0);
                }
                What::Note(_) => {}
            }
        }
        for verb in open.into_values() {
            *stats.calls.entry((verb, "none")).or_default() += 1;
        }
        stats
    }

    /// How many calls of a verb ended well.
    pub(crate) fn done(&self, verb: &'static str) -> u64 {
        self.calls.get(&(verb, "ok")).copied().unwrap_or_default()
    }
}

impl fmt::Display for WorkloadStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for ((verb, sort), count) in &self.calls {
            if *verb != last {
                write!(f, "{}{verb}:", if last.is_empty() { "" } else { "\n" })?;
            }
            last = *verb;
            write!(f, " {count} {sort}")?;
        }
        write!(
            f,
            "\ndeliveries: {}, damaged: {}, calls that hung: {}",
            self.deliveries, self.damaged, self.hung
        )
    }
}

/// The verb's file.
fn verb(call: &Call) -> &'static str {
    match call {
        Call::CreateQueue { .. } => "create_queue",
        Call::DeleteQueue { .. } => "delete_queue",
        Call::OpenProducer { .. } => "open_producer",
        Call::Publish { .. } => "publish",
        Call::CloseProducer { .. } => "close_producer",
        Call::Attach { .. } => "attach",
        Call::Credit { .. } => "credit",
        Call::Settle { how: How::Ack, .. } => "ack",
        Call::Settle { how: How::Retry(_), .. } => "retry",
        Call::Settle { how: How::Release, .. } => "release",
        Call::Settle { how: How::Extend(_), .. } => "extend",
        Call::Detach { .. } => "detach",
        Call::Transact { .. } => "transact",
        Call::GetState { .. } => "get_state",
        Call::Stat { .. } => "stat",
        Call::Peek { .. } => "peek",
        Call::ListQueues => "list_queues",
        Call::ShowQueue { .. } => "show_queue",
        Call::Members => "members",
        Call::Status => "status",
        Call::Version => "version",
        Call::RaiseVersion => "raise_version",
        Call::RemoveMember { .. } => "remove_member",
        Call::Manage { verb, .. } => verb,
    }
}

fn sort(answer: &Answer) -> &'static str {
    match answer {
        Answer::Refused(_) => "refused",
        Answer::NotDone(_) => "not done",
        Answer::Unknown(_) => "unknown",
        _ => "ok",
    }
}
