//! The witnesses of what changes the state.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_machine::command::{Order, Outcome as Settling, Settings};
use quorate_machine::reply::{Refusal, Reply};

use super::{CHECK, ORDER, Witness};
use crate::check::facts::{Done, Settled, Transacted, reason};
use crate::check::past::{Fate, Op, fate_of_send, fate_of_settle};
use crate::history::{Answer, Call, How};

const ABSENT: &str = "absent";
const ONCE: &str = "once";

/// An entry that may be the witness, and whether it was answered like the operation.
type Candidate = (u64, bool);

impl<'a> Witness<'a, '_> {
    /// A write is over. Its witness, if its answer says that there is one.
    pub(super) fn write(&mut self, op: &Op<'a>, at: Duration, answer: &Answer) -> Option<u64> {
        let candidates = self.candidates(op, answer)?;
        self.checked.writes += 1;
        self.pick(op, at, answer, &candidates)
    }

    fn candidates(&self, op: &Op<'_>, answer: &Answer) -> Option<Vec<Candidate>> {
        let facts = self.facts;
        Some(match (op.call, answer) {
            (Call::Publish { body, queue, .. }, Answer::Receipt { position, .. }) => {
                let rows = facts.publishes.get(body).map_or(&[][..], Vec::as_slice);
                rows.iter()
                    .map(|row| {
                        let there = row.outcome.is_ok_and(|at| at.position == *position && at.is_there);
                        (row.index, row.queue == *queue && there)
                    })
                    .collect()
            }
            (Call::Transact { number, .. }, _) => return self.transacted(*number, answer),
            (Call::Settle { queue, position, token, how }, Answer::Done | Answer::Refused(_)) => {
                let refused = match answer {
                    Answer::Refused(reason) if is_of_lease(reason) => Some(reason.as_str()),
                    Answer::Refused(_) => return None,
                    _ => None,
                };
                let rows = facts.settles.get(&(queue.clone(), *position, *token));
                rows.map_or(&[][..], Vec::as_slice)
                    .iter()
                    .filter(|row| is_as_asked(row, wire_of(*how)))
                    .map(|row| (row.index, row.refusal.is_none_or(|refusal| refusal == refused)))
                    .collect()
            }
            (Call::CreateQueue { queue, total, lease_ms, backoff_ms }, _) => {
                let meant = (*total, *lease_ms, *backoff_ms);
                let rows = facts.creates.get(queue).map_or(&[][..], Vec::as_slice);
                let of_it = rows.iter().filter(|row| asked_for(&row.command.settings) == meant);
                let rows = of_it.map(|row| (row.index, created(row, answer)));
                match answer {
                    Answer::Created(_) => rows.collect(),
                    Answer::Refused(reason) if reason == "QUEUE_EXISTS" => rows.collect(),
                    _ => return None,
                }
            }
            // A repeated delete that finds the queue gone is a delete.
            (Call::DeleteQueue { queue }, Answer::Done) => plain(&facts.deletes, queue, |outcome| {
                matches!(outcome, Ok(_) | Err(Refusal::UnknownQueue(_)))
            }),
            (Call::OpenProducer { session, .. }, Answer::Opened { last_seq }) => plain(
                &facts.opens,
                session,
                |outcome| matches!(outcome, Ok(Reply::ProducerOpened(opened)) if opened.last_seq == *last_seq),
            ),
            // What is forgotten already, or somebody else's by now, is as good as closed; and so is what cannot be resumed,
            // which is how a client asks when the answer to its close was lost.
            (Call::CloseProducer { session }, Answer::Done) => {
                let mut candidates = plain(&facts.closes, session, |outcome| {
                    matches!(outcome, Ok(_) | Err(Refusal::UnknownProducer | Refusal::ProducerFenced { .. }))
                });
                candidates.extend(plain(&facts.opens, session, |outcome| {
                    *outcome == Err(Refusal::UnknownProducer)
                }));
                candidates.sort_unstable();
                candidates
            }
            (Call::Attach { queue, .. }, Answer::Done) => plain(&facts.attaches, queue, Result::is_ok),
            _ => return None,
        })
    }

    fn transacted(&self, number: u64, answer: &Answer) -> Option<Vec<Candidate>> {
        let fits = |row: &Transacted| match answer {
            Answer::Transacted { version, .. } => {
                Some(row.outcome.is_ok_and(|done| done.version == *version))
            }
            // A full disk is told by the server, before anything is in the log.
            Answer::Refused(reason) if reason != "NO_SPACE" => Some(row.outcome == Err(reason.as_str())),
            _ => None,
        };
        let rows = self.facts.transacts.get(&number).map_or(&[][..], Vec::as_slice);
        if let (true, Answer::Transacted { .. }) = (rows.is_empty(), answer) {
            return Some(Vec::new()); // done, and nowhere in the log
        }
        let found = rows.iter().filter_map(|row| Some((row.index, fits(row)?))).collect::<Vec<_>>();
        (!found.is_empty()).then_some(found)
    }

    /// The earliest entry that fits: applied while the operation was under way, answered like it, and later than what was over
    /// before it began.
    fn pick(&mut self, op: &Op<'_>, at: Duration, answer: &Answer, candidates: &[Candidate]) -> Option<u64> {
        let floor = self.floor(op);
        let during =
            |index: &u64| self.log.get(*index).is_some_and(|entry| (op.invoked_at..=at).contains(&entry.at));
        let fitting: Vec<u64> = candidates
            .iter()
            .filter(|(index, fits)| *fits && during(index))
            .map(|(index, _)| *index)
            .collect();
        if let Some(index) = fitting.iter().find(|index| **index > floor) {
            return Some(*index);
        }
        let (id, call) = (op.id.0, op.call);
        if let Some(index) = fitting.first() {
            let what = format!("#{id} {call:?} is entry {index}, and {floor} was over before it began");
            self.report.safety("P2", ORDER, at, what);
            return Some(*index);
        }
        let entries: Vec<String> = candidates
            .iter()
            .take(8)
            .map(|(index, fits)| format!("{index}{}", if *fits { " at another time" } else { "" }))
            .collect();
        let what =
            format!("#{id} {call:?} was answered {answer:?}, and the log says otherwise at {entries:?}");
        self.report.safety("P1", CHECK, at, what);
        None
    }

    /// The other way round: what the log did was asked for, happened once, and is not what somebody was told had not
    /// happened.
    pub(super) fn log_follows_history(&mut self) {
        self.publishes_once();
        self.publishes_asked();
        self.settles_absent();
        self.transactions();
    }

    /// A transaction happens once, if it was asked for and not said to be refused.
    fn transactions(&mut self) {
        let mut asked = BTreeMap::new();
        for op in self.past.ops.values() {
            if let Call::Transact { number, .. } = op.call {
                asked.insert(*number, op);
            }
        }
        for (number, rows) in &self.facts.transacts {
            let fresh: Vec<u64> = rows
                .iter()
                .filter(|row| row.outcome.is_ok_and(|done| !done.duplicate))
                .map(|row| row.index)
                .collect();
            let Some(op) = asked.get(number) else {
                let what = format!("nobody asked for transaction {number} of the entries {fresh:?}");
                self.report.safety("P6", CHECK, Duration::ZERO, what);
                continue;
            };
            let (answer, at) =
                op.returned.map_or((None, op.invoked_at), |(_, at, answer)| (Some(answer), at));
            if fresh.len() > 1 {
                let what = format!("#{} transaction {number} happened in the entries {fresh:?}", op.id.0);
                self.report.safety("P6", ONCE, at, what);
            }
            let absent = matches!(answer, Some(Answer::Refused(_) | Answer::NotDone(_)));
            if absent && let Some(index) = fresh.first() {
                let what = format!("#{} was answered {answer:?}, and is entry {index}", op.id.0);
                self.report.safety("P11", ABSENT, at, what);
            }
        }
    }

    fn publishes_once(&mut self) {
        for (body, rows) in &self.facts.publishes {
            let fresh: Vec<_> = rows
                .iter()
                .filter(|row| row.outcome.is_ok_and(|at| !at.duplicate))
                .map(|row| row.index)
                .collect();
            let strange = rows.iter().find(|row| row.outcome.is_ok_and(|at| !at.is_there));
            let at =
                rows.last().and_then(|row| self.log.get(row.index)).map_or(Duration::ZERO, |entry| entry.at);
            if fresh.len() > 1 {
                let what = format!("body {body} entered {} by the entries {fresh:?}", rows[0].queue);
                self.report.safety("P5", ONCE, at, what);
            }
            if let Some(row) = strange {
                let (index, outcome) = (row.index, row.outcome);
                let what = format!("entry {index} says {outcome:?} of body {body}: another message is there");
                self.report.safety("P5", ONCE, at, what);
            }
        }
    }

    fn publishes_asked(&mut self) {
        // A body may be sent again when it is known not to be stored: it is absent if it is after every time.
        let mut asked = BTreeMap::new();
        for op in self.past.ops.values() {
            if let Call::Publish { body, session, queue, bytes } = op.call {
                let slot = asked.entry(*body).or_insert((op, session, queue, *bytes, true));
                slot.4 &= fate_of_send(op.returned.map(|(_, _, answer)| answer)) == Fate::Absent;
            }
        }
        for (body, rows) in &self.facts.publishes {
            let Some((op, session, queue, bytes, absent)) = asked.get(body) else {
                let what = format!("nobody sent body {body} of the entry {}", rows[0].index);
                self.report.safety("P2", CHECK, Duration::ZERO, what);
                continue;
            };
            let other = rows.iter().find(|row| {
                let same_session = row.session.as_ref().is_none_or(|name| name == *session);
                row.queue != **queue || row.bytes != *bytes || !same_session
            });
            if let Some(row) = other {
                let what = format!("#{} {:?} is in the log as {row:?}", op.id.0, op.call);
                self.report.safety("P2", CHECK, op.invoked_at, what);
            }
            let (answer, at) =
                op.returned.map_or((None, op.invoked_at), |(_, at, answer)| (Some(answer), at));
            let stored = rows.iter().find(|row| row.outcome.is_ok());
            if *absent
                && !(self.past.deleted.contains(queue.as_str()) && is_of_another_life(answer))
                && let Some(row) = stored
            {
                let what =
                    format!("#{} body {body} was answered {answer:?}, and is entry {}", op.id.0, row.index);
                self.report.safety("P11", ABSENT, at, what);
            }
        }
    }

    /// A settle that did not happen has no effect, unless somebody else asked for the same.
    fn settles_absent(&mut self) {
        let mut asked: BTreeMap<_, (bool, &Op<'_>)> = BTreeMap::new();
        for op in self.past.ops.values() {
            let Call::Settle { queue, position, token, how } = op.call else { continue };
            let absent = fate_of_settle(op.returned.map(|(_, _, answer)| answer)) == Fate::Absent;
            let key = (queue.clone(), *position, *token, wire_of(*how));
            let slot = asked.entry(key).or_insert((true, op));
            slot.0 &= absent;
        }
        for ((queue, position, token, how), (absent, op)) in asked {
            let rows = self.facts.settles.get(&(queue, position, token));
            let done =
                rows.into_iter().flatten().find(|row| is_as_asked(row, how) && row.refusal == Some(None));
            if let (true, Some(row), Some((_, at, answer))) = (absent, done, op.returned) {
                let what =
                    format!("#{} {:?} was answered {answer:?}, and is entry {}", op.id.0, op.call, row.index);
                self.report.safety("P11", ABSENT, at, what);
            }
        }
    }
}

fn is_of_lease(reason: &str) -> bool {
    ["STALE_LEASE", "NEVER_LEASED"].contains(&reason)
}

/// A publish that is repeated when its queue is gone, or is another one: what an earlier attempt did is not said.
fn is_of_another_life(answer: Option<&Answer>) -> bool {
    let reasons = ["UNKNOWN_QUEUE", "INVALID"];
    matches!(answer, Some(Answer::Refused(reason)) if reasons.contains(&reason.as_str()))
}

fn plain(
    rows: &BTreeMap<String, Vec<Done<()>>>,
    key: &str,
    fits: impl Fn(&quorate_machine::reply::Outcome) -> bool,
) -> Vec<Candidate> {
    rows.get(key).into_iter().flatten().map(|row| (row.index, fits(&row.outcome))).collect()
}

/// Outcome and delay as the client sends them: on the wire a zero means the subscription's own. For an extension by that the client says
/// how long it takes that to be, so that it knows when the lease ends.
fn wire_of(how: How) -> (i32, Option<u64>) {
    let delay = |given: Option<u64>| given.map_or(0, |ms| ms.max(1));
    match how {
        How::Ack => (Settling::Ack.into(), Some(0)),
        How::Retry(after) => (Settling::Retry.into(), Some(delay(after))),
        How::Release => (Settling::Release.into(), Some(0)),
        How::Extend(by) => (Settling::Extend.into(), by.map(|ms| ms.max(1))),
    }
}

fn is_as_asked(row: &Settled, (outcome, delay_ms): (i32, Option<u64>)) -> bool {
    row.outcome == outcome && delay_ms.is_none_or(|delay_ms| row.delay_ms == delay_ms)
}

fn asked_for(settings: &Settings) -> (bool, u64, (u64, u64)) {
    let backoff = (settings.backoff_first_ms, settings.backoff_last_ms);
    (settings.order() == Order::Total, settings.lease_ms, backoff)
}

fn created(row: &Done<quorate_machine::command::CreateQueue>, answer: &Answer) -> bool {
    match (&row.outcome, answer) {
        (Ok(Reply::QueueCreated { settings, created, created_at_ms, .. }), Answer::Created(given)) => {
            let queue = given.queue.as_ref();
            *created == given.created
                && queue.is_some_and(|queue| {
                    queue.created_at_ms == *created_at_ms
                        && super::reads::same_settings(queue, Some(settings))
                })
        }
        (Err(refusal), Answer::Refused(given)) => reason(refusal) == given,
        _ => false,
    }
}
