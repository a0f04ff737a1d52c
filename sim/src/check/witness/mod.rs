//! Every operation that was answered, held against the committed log: the entry that carried it out is its witness. The answer
//! must be the model's at that entry, and the witnesses must follow real time: an operation that began after another was over
//! has a later witness, a read one at least as late.
//!
//! Where several entries can be the witness (two clients create the same queue), the earliest that fits counts: that never
//! accuses what is right. Detach and credit name nothing by which their entry could be told, so they are left to the model.

mod reads;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::Facts;
use super::log::CommittedLog;
use super::past::{Delivery, Op, Past, queue_of};
use super::report::Report;
use crate::history::{Answer, Call, What, Who};

pub(super) use reads::Asked;

const CHECK: &str = "witness";
const ORDER: &str = "real-time-order";
const READ: &str = "read-order";
const BARRIER: &str = "read-barrier";
const DELIVERY: &str = "delivery";

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) writes: u64,
    pub(super) reads: u64,
    pub(super) deliveries: u64,
}

/// See the module.
pub(super) struct Witness<'a, 'r> {
    past: &'a Past<'a>,
    log: &'a CommittedLog,
    facts: &'a Facts,
    report: &'r mut Report,
    /// The latest witness of an operation that is over, by when each operation began.
    floors: BTreeMap<crate::history::OpId, u64>,
    /// Reads to be compared with the model after an entry.
    asked: Vec<Asked<'a>>,
    consumers: BTreeMap<u64, Who>,
    checked: Checked,
}

/// Checks all but the contents of the reads, which come back as what to ask the model.
pub(super) fn check<'a>(
    past: &'a Past<'a>,
    log: &'a CommittedLog,
    facts: &'a Facts,
    report: &mut Report,
) -> (Vec<Asked<'a>>, Checked) {
    let mut witness = Witness {
        past,
        log,
        facts,
        report,
        floors: BTreeMap::new(),
        asked: Vec::new(),
        consumers: BTreeMap::new(),
        checked: Checked::default(),
    };
    witness.sweep();
    witness.log_follows_history();
    (witness.asked, witness.checked)
}

/// Answers the contents of the reads from a replay of the log.
pub(super) fn compare_reads(log: &CommittedLog, facts: &Facts, asked: Vec<Asked<'_>>, report: &mut Report) {
    reads::compare(log, facts, asked, report);
}

impl<'a> Witness<'a, '_> {
    /// Goes through the history, in its order.
    fn sweep(&mut self) {
        let past = self.past;
        let mut floor = 0;
        let mut deliveries = past.deliveries.iter();
        for event in past.events {
            match &event.what {
                What::Invoke(id, _) => drop(self.floors.insert(*id, floor)),
                What::Return(id, _) => {
                    let Some(op) = past.ops.get(id) else { continue };
                    floor = floor.max(self.returned(op).unwrap_or(0));
                }
                What::Delivered { .. } => {
                    if let Some(delivery) = deliveries.next() {
                        self.delivered(delivery);
                    }
                }
                What::Note(_) => {}
            }
        }
    }

    fn floor(&self, op: &Op<'_>) -> u64 {
        self.floors.get(&op.id).copied().unwrap_or(0)
    }

    /// An operation is over. Its witness, if it has one.
    fn returned(&mut self, op: &Op<'a>) -> Option<u64> {
        let (_, at, answer) = op.returned?;
        if let Answer::Refused(reason) = answer
            && reason == "UNKNOWN_QUEUE"
            && let Some(queue) = queue_of(op.call)
        {
            self.unknown_queue(op, queue, at);
            return None;
        }
        let found = reads::applied_index(answer);
        if let Some(index) = found {
            return self.read(op, index, at, answer);
        }
        if let (Call::ListQueues, Answer::Listed(queues)) = (op.call, answer) {
            self.checked.reads += 1;
            self.listed(op, queues, at);
            return None;
        }
        self.write(op, at, answer)
    }

    /// A read that says after which entry it looked.
    fn read(&mut self, op: &Op<'a>, index: u64, at: Duration, answer: &'a Answer) -> Option<u64> {
        self.checked.reads += 1;
        let floor = self.floor(op);
        if index < floor {
            let what = format!("#{} saw the state after {index}: {floor} was over before it began", op.id.0);
            self.report.safety("P7", READ, at, what);
        }
        // A barrier asks for more than real time does: who leads knows of all that was committed before, also of what nobody
        // was told.
        let known = op.invoked_at.checked_sub(Duration::from_nanos(1)).and_then(|at| self.log.last_at(at));
        if let Some(known) = known.filter(|known| index < *known) {
            let what =
                format!("#{} saw the state after {index}: {known} was applied before it began", op.id.0);
            self.report.safety("P7", BARRIER, at, what);
        }
        if self.log.last_at(at).is_none_or(|last| index > last) {
            let what = format!("#{} saw the state after {index}, which nobody had applied", op.id.0);
            self.report.safety("P7", READ, at, what);
            return None;
        }
        self.asked.push(Asked { index, op: op.id, at, call: op.call, answer });
        Some(index)
    }

    /// The range of entries after which a read may have looked.
    fn window(&self, op: &Op<'_>, at: Duration) -> (u64, u64) {
        (self.floor(op), self.log.last_at(at).unwrap_or(0))
    }

    fn unknown_queue(&mut self, op: &Op<'_>, queue: &str, at: Duration) {
        self.checked.reads += 1;
        let (from, to) = self.window(op, at);
        if !self.facts.listed(from, to, |queues| !queues.contains_key(queue)) {
            let what = format!("#{}: {queue} was there from {from} to {to}, and is not known", op.id.0);
            self.report.safety("P7", READ, at, what);
        }
    }

    fn listed(&mut self, op: &Op<'_>, given: &[quorate_proto::v1::Queue], at: Duration) {
        let (from, to) = self.window(op, at);
        if !self.facts.listed(from, to, |queues| reads::same_listing(given, queues)) {
            let names: Vec<&str> = given.iter().map(|queue| queue.name.as_str()).collect();
            let what = format!("#{}: the queues were never {names:?} from {from} to {to}", op.id.0);
            self.report.safety("P7", READ, at, what);
        }
    }

    /// A delivery is a lease that an entry gave to this consumer and no other.
    fn delivered(&mut self, delivery: &Delivery<'_>) {
        self.checked.deliveries += 1;
        let (queue, token) = (delivery.queue, delivery.token);
        let at = format!("{queue} {} (token {token})", delivery.position);
        let leases = self.facts.leases.get(&(queue.to_owned(), token)).map_or(&[][..], Vec::as_slice);
        let same = leases.iter().find(|lease| {
            (lease.position, lease.attempt) == (delivery.position, delivery.attempt)
                && lease.body.is_none_or(|body| body == delivery.body)
        });
        let Some(lease) = same else {
            let what =
                format!("{at} attempt {} body {}: the log has {leases:?}", delivery.attempt, delivery.body);
            return self.report.safety("P4", DELIVERY, delivery.at, what);
        };
        if self.log.get(lease.index).is_none_or(|entry| entry.at > delivery.at) {
            let what = format!("{at} came before entry {}, which leases it, was applied", lease.index);
            self.report.safety("P1", DELIVERY, delivery.at, what);
        }
        let holder = *self.consumers.entry(lease.consumer).or_insert(delivery.who);
        if holder != delivery.who {
            let what = format!("{at} is of {holder:?}'s session, and came to {:?}", delivery.who);
            self.report.safety("P4", DELIVERY, delivery.at, what);
        }
    }
}
