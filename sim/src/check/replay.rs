//! The committed log, carried out once more by the checker: by the machine on a store in memory, and by the naive model in
//! lockstep. Nodes must have the reference's digests, and the reference must answer as the model does.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quorate_machine::command::Batch;
use quorate_machine::limits::{ENTRY_ROWS, ENTRY_WEIGHT};
use quorate_machine::{MemoryStore, apply_as, check, read};
use quorate_model::compare;
use quorate_model::naive::Naive;

use super::facts::Facts;
use super::log::{CommittedLog, hex};
use super::report::Report;
use crate::world::NEXT;

const MODEL: &str = "model";
const INVARIANT: &str = "invariant";
const REFERENCE: &str = "reference";
const WORK: &str = "work";

/// A scan of the whole state is paid for by entries, each with so many rows: what is checked stays linear in the log.
const ROWS_PER_ENTRY: u64 = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Replay {
    store: MemoryStore,
    naive: Naive,
    pub(super) facts: Facts,
    /// Where to go on.
    next: Option<u64>,
    unchecked: u64,
    /// The model no longer says what the machine has to do: they differ, or the log left what is modelled.
    left: bool,
    /// The last entry that it was asked about before.
    followed: u64,
    pub(super) entries: u64,
    pub(super) scans: u64,
}

impl Replay {
    /// Carries out what is new in the log.
    pub(super) fn advance(&mut self, log: &CommittedLog, report: &mut Report) {
        let mut index = self.next.unwrap_or_else(|| log.first());
        let begin = index;
        while let Some(entry) = log.get(index) {
            if let Some(bytes) = &entry.bytes {
                self.apply(index, bytes, entry.at, report);
            }
            self.followed = if self.left { self.followed } else { index };
            let digest = read::digest(&self.store).unwrap_or_default();
            if let Some((given, by)) = entry.digest
                && given != digest
            {
                let (given, digest) = (hex(&given), hex(&digest));
                let what = format!("after {index} {by} has the digest {given}, a replay of the log {digest}");
                report.safety("P10", REFERENCE, entry.at, what);
            }
            index += 1;
        }
        self.next = (index > begin).then_some(index).or(self.next);
        self.unchecked += index - begin;
        if self.unchecked * ROWS_PER_ENTRY >= self.store.len() as u64 && self.unchecked > 0 {
            self.scan(index - 1, log, report);
        }
    }

    /// Every invariant and every read of the state as it is now.
    fn scan(&mut self, index: u64, log: &CommittedLog, report: &mut Report) {
        self.unchecked = 0;
        self.scans += 1;
        let at = log.get(index).map_or(Duration::ZERO, |entry| entry.at);
        if let Err(problem) = check::check(&self.store) {
            report.safety("P10", INVARIANT, at, format!("after {index}: {problem}"));
        }
        // What the machine has left to ticks is still stored: nobody should ask where storage begins.
        let same = compare::note_sweeps(&self.store, &mut self.naive)
            .and_then(|()| compare::reads(&self.store, &self.naive));
        if !self.left
            && let Err(problem) = same
        {
            self.left = true;
            report.safety("P7", MODEL, at, format!("after {index}: {problem}"));
        }
    }

    fn apply(&mut self, index: u64, bytes: &Bytes, at: Duration, report: &mut Report) {
        self.entries += 1;
        let batch = Batch::decode(bytes.clone());
        let applied = match apply_as(NEXT, &mut self.store, bytes) {
            Ok(applied) => applied,
            Err(error) => {
                self.left = true; // what follows is judged by nobody
                return report.safety("P10", REFERENCE, at, format!("at {index}: {error}"));
            }
        };
        let Ok(batch) = batch else {
            return report.safety("P2", MODEL, at, format!("the entry at {index} cannot be decoded"));
        };
        let most = rows_max();
        if applied.rows > most {
            let what = format!(
                "the entry at {index} touched {} rows, and {most} is the most: {:?}",
                applied.rows, applied.steps
            );
            report.safety("P12", WORK, at, what);
        }
        if self.left {
            return;
        }
        let answers = self.naive.follow(&batch, &applied.steps);
        // What is being swept is due at once, however many ticks it takes.
        let same = compare::answers(&applied, &answers, &self.naive)
            .and_then(|()| compare::note_sweeps(&self.store, &mut self.naive))
            .and_then(|()| compare::deadline(&applied, &self.naive))
            .and_then(|()| compare::sent(&self.store, &applied, &self.naive));
        if let Err(problem) = same {
            self.left = true;
            return report.safety("P10", MODEL, at, format!("entry {index}: {problem}"));
        }
        self.facts.add(index, &batch, &answers, &self.naive);
        self.facts.add_steps(index, applied.steps);
    }

    /// The index after the last that was carried out.
    pub(super) fn next(&self) -> u64 {
        self.next.unwrap_or(0)
    }

    /// The state after the last entry.
    pub(super) fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// The entry at which the model and the log parted.
    pub(super) fn left_at(&self) -> u64 {
        self.followed + 1
    }

    /// Whether the facts are those of the whole log.
    pub(super) fn is_complete(&self, log: &CommittedLog) -> bool {
        !self.left && self.next() == log.end()
    }
}

/// Rows that applying an entry may touch: what it may before it leaves the rest, its commands, and what it has begun.
fn rows_max() -> u64 {
    quorate_simpoint::entry_rows(ENTRY_ROWS) + ENTRY_WEIGHT + ENTRY_ROWS
}

#[cfg(test)]
mod tests {
    use quorate_machine::command::{CreateQueue, DeleteQueue, Settings, Verb};

    use super::*;
    use crate::check::story::Written;

    fn create(name: &str) -> Verb {
        let settings = Settings::default();
        Verb::CreateQueue(CreateQueue { name: name.into(), settings, ..CreateQueue::default() })
    }

    fn written() -> Written {
        let mut written = Written::default();
        written.apply(Duration::ZERO, 0, None, [0; 16]);
        written.entry(Duration::from_millis(1), vec![create("q"), create("-")]);
        let delete = Verb::DeleteQueue(DeleteQueue { namespace: String::new(), name: "q".into() });
        written.entry(Duration::from_millis(2), vec![delete, create("p")]);
        written
    }

    fn found(written: &mut Written, replay: &mut Replay) -> Vec<&'static str> {
        replay.advance(&written.log, &mut written.report);
        written.report.checks()
    }

    #[test]
    fn a_log_with_the_states_that_follow_from_it_is_fine() {
        let (mut written, mut replay) = (written(), Replay::default());
        assert_eq!(found(&mut written, &mut replay), Vec::<&str>::new());
        assert!(replay.is_complete(&written.log) && *replay.store() == written.store);
        assert_eq!((replay.entries, replay.scans, replay.facts.listings.len()), (2, 1, 2));
    }

    #[test]
    fn another_state_than_the_log_s_is_seen() {
        let (mut written, mut replay) = (written(), Replay::default());
        let entry = Batch::new(1, vec![create("r").into()]).encode();
        written.apply(Duration::from_millis(3), 3, Some(&entry), [9; 16]);
        assert_eq!(found(&mut written, &mut replay), [REFERENCE]);
    }

    #[test]
    fn a_machine_that_does_otherwise_than_the_model_is_seen() {
        let (mut written, mut replay) = (written(), Replay::default());
        found(&mut written, &mut replay);
        // The machine has forgotten a queue that the model knows.
        replay.store = MemoryStore::new();
        written.entry(Duration::from_millis(3), vec![create("p")]);
        let found = found(&mut written, &mut replay);
        assert!(found.contains(&MODEL) && !replay.is_complete(&written.log), "{found:?}");
        assert_eq!(replay.left_at(), 3);
    }

    #[test]
    fn a_broken_state_and_an_unreadable_entry_are_seen() {
        let (mut written, mut replay) = (written(), Replay::default());
        found(&mut written, &mut replay);
        let rows = replay.store.rows().skip(1).map(|(key, value)| (key.to_vec(), value.clone()));
        replay.store = rows.collect();
        let digest = read::digest(&written.store).expect("memory does not fail");
        written.apply(Duration::from_millis(3), 3, Some(b"\xff"), digest);
        let found = found(&mut written, &mut replay);
        assert!(found.contains(&INVARIANT) && found.contains(&REFERENCE), "{found:?}");
    }
}
