//! What a client says that no state can make right costs no entry: the leader refuses it before it proposes anything. Neither does an entry grow longer
//! than peers take, nor one of several commands than a proposer packs.

use prost::Message as _;
use quorate_machine::command::Batch;
use quorate_machine::lawful;
use quorate_machine::limits::ENTRY_BYTES_MAX;
use quorate_node::shards::proposal::Limits;

use super::log::CommittedLog;
use super::report::Report;

const CHECK: &str = "lawful-log";

/// Looks at every command of the log.
pub(super) fn check(log: &CommittedLog, report: &mut Report) {
    for index in log.first()..log.end() {
        let Some(entry) = log.get(index) else { continue };
        let Some(bytes) = &entry.bytes else { continue };
        if bytes.len() > ENTRY_BYTES_MAX {
            report.safety("P8", CHECK, entry.at, format!("entry {index} has {} bytes", bytes.len()));
        }
        let commands = Batch::decode(bytes.clone()).map_or_else(|_| Vec::new(), |batch| batch.commands);
        let packed_max = Limits::default().entry_bytes;
        if commands.len() > 1 && bytes.len() > packed_max {
            let what = format!("entry {index} of {} commands has {} bytes", commands.len(), bytes.len());
            report.safety("P8", CHECK, entry.at, what);
        }
        for refusal in commands.iter().filter_map(|command| lawful(command.verb.as_ref()?).err()) {
            report.safety("P12", CHECK, entry.at, format!("entry {index} has what is refused: {refusal}"));
        }
    }
}
