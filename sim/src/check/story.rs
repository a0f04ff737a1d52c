//! Short histories for the checks' own tests. One queue, `q` unless it is said; every event is a millisecond after the one before.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use quorate_machine::command::{Batch, Command, Verb};
use quorate_machine::message::Message;
use quorate_machine::reply::Outcome;
use quorate_machine::{MemoryStore, apply, read};
use quorate_proto::v1 as wire;
use quorate_simpoint::Applied;

use super::log::{CommittedLog, Node};

use super::past::Past;
use super::report::Report;
use crate::history::{Answer, Call, Event, How, OpId, What, Who};

/// A history that is being written.
pub(super) struct Story {
    pub(super) events: Vec<Event>,
    /// Its name.
    pub(super) queue: &'static str,
    ops: u64,
}

impl Default for Story {
    fn default() -> Self {
        Story { events: Vec::new(), queue: "q", ops: 0 }
    }
}

pub(super) const BYTES: usize = 16;

pub(super) fn who(actor: u32) -> Who {
    Who { client: 0, life: 1, actor }
}

impl Story {
    /// Of a queue.
    pub(super) fn of(queue: &'static str) -> Self {
        Story { queue, ..Story::default() }
    }

    fn push(&mut self, actor: u32, what: What) {
        let at = Duration::from_millis(self.events.len() as u64);
        self.events.push(Event { at, who: Some(who(actor)), what });
    }

    pub(super) fn invoke(&mut self, actor: u32, call: Call) -> OpId {
        let id = OpId(self.ops);
        self.ops += 1;
        self.push(actor, What::Invoke(id, call));
        id
    }

    pub(super) fn answer(&mut self, actor: u32, id: OpId, answer: Answer) {
        self.push(actor, What::Return(id, answer));
    }

    pub(super) fn did(&mut self, actor: u32, call: Call, answer: Answer) {
        let id = self.invoke(actor, call);
        self.answer(actor, id, answer);
    }

    pub(super) fn create(&mut self, total: bool) {
        let call =
            Call::CreateQueue { queue: self.queue.into(), total, lease_ms: 300, backoff_ms: (40, 150) };
        self.did(
            0,
            call,
            Answer::Created(Box::new(wire::CreateQueueResponse { queue: None, created: true })),
        );
    }

    pub(super) fn delete(&mut self) {
        self.did(0, Call::DeleteQueue { queue: self.queue.into() }, Answer::Done);
    }

    pub(super) fn send(&mut self, actor: u32, body: u64) -> OpId {
        let (session, queue) = (format!("s{actor}"), self.queue.into());
        self.invoke(actor, Call::Publish { session, queue, body, bytes: BYTES })
    }

    pub(super) fn receipt(&mut self, actor: u32, id: OpId, position: u64) {
        self.answer(actor, id, Answer::Receipt { position, duplicate: false });
    }

    pub(super) fn published(&mut self, actor: u32, body: u64, position: u64) {
        let id = self.send(actor, body);
        self.receipt(actor, id, position);
    }

    pub(super) fn delivered(&mut self, actor: u32, position: u64, token: u64, attempt: u32, body: u64) {
        let queue = self.queue.into();
        self.push(actor, What::Delivered { queue, position, token, attempt, body, bytes: BYTES });
    }

    pub(super) fn settled(&mut self, actor: u32, position: u64, token: u64, how: How, answer: Answer) {
        self.did(actor, Call::Settle { queue: self.queue.into(), position, token, how }, answer);
    }

    pub(super) fn acked(&mut self, actor: u32, position: u64, token: u64) {
        self.settled(actor, position, token, How::Ack, Answer::Done);
    }

    pub(super) fn stat(&mut self, stat: wire::StatResponse) {
        self.did(9, Call::Stat { queue: self.queue.into() }, Answer::Stat(stat));
    }

    pub(super) fn empty(&mut self, last_position: u64) {
        self.stat(wire::StatResponse { last_position, ..Default::default() });
    }

    /// What a check finds in it.
    pub(super) fn found(&self, check: impl FnOnce(&Past<'_>, &mut Report)) -> Vec<String> {
        let mut report = Report::default();
        check(&Past::of(&self.events), &mut report);
        report.violations().iter().map(|violation| violation.to_string()).collect()
    }
}

/// A log that is being written, and the node that applies it.
#[derive(Default)]
pub(super) struct Written {
    pub(super) store: MemoryStore,
    pub(super) log: CommittedLog,
    pub(super) report: Report,
}

impl Written {
    /// Applies an entry at a time of the history, and returns the answers.
    pub(super) fn entry(&mut self, at: Duration, verbs: Vec<Verb>) -> Vec<Outcome> {
        let time_ms = 1_000_000 + at.as_millis() as u64;
        let bytes = Batch::new(time_ms, verbs.into_iter().map(Command::from).collect()).encode();
        let answers = apply(&mut self.store, &bytes).expect("memory does not fail").replies;
        let digest = read::digest(&self.store).expect("memory does not fail");
        self.apply(at, 1 + self.log.end().saturating_sub(1), Some(&bytes), digest);
        answers
    }

    /// A node tells of an entry.
    pub(super) fn apply(&mut self, at: Duration, index: u64, entry: Option<&[u8]>, digest: [u8; 16]) {
        let digest = || Some(digest);
        let applied =
            Applied { data_dir: Path::new(""), shard: 0, term: 1, index, rows: 0, entry, digest: &digest };
        self.log.applied(Node { id: 0, life: 1 }, at, &applied, &mut self.report);
    }
}

/// A message as a publisher of a run makes it.
pub(super) fn message(body: u64) -> Message {
    let mut bytes = body.to_le_bytes().to_vec();
    bytes.resize(BYTES, 7);
    Message { body: Bytes::from(bytes), ..Message::default() }
}
