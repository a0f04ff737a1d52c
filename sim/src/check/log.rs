//! The committed log is one, and so is the state after each of its entries: whatever a node applies, in whichever of its
//! lives, is what every other node applied at that index, with the same digest after it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use quorate_simpoint::Applied;

use super::report::Report;

const CHECK: &str = "one-log";
const STATE: &str = "same-state";

/// An entry that some node applied.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) term: u64,
    /// The commands; `None` for an entry that is Raft's own.
    pub(super) bytes: Option<Bytes>,
    /// When the first node applied it.
    pub(super) at: Duration,
    /// The digest after it, and who said so first.
    pub(super) digest: Option<([u8; 16], Node)>,
}

/// A node in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: usize,
    pub(super) life: u32,
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "n{} (life {})", self.id + 1, self.life)
    }
}

/// What was applied, by index.
#[derive(Debug, Default)]
pub(super) struct CommittedLog {
    /// The entries from `first` on.
    entries: Vec<Entry>,
    first: u64,
    /// What each node applied last in its current life.
    last: BTreeMap<usize, (u32, Option<u64>)>,
    /// How many applications of an entry were compared.
    pub(super) applied: u64,
    /// How often a node went on at a later index: it had installed a snapshot.
    pub(super) jumps: u64,
}

impl CommittedLog {
    /// A node applied an entry.
    pub(super) fn applied(&mut self, node: Node, at: Duration, applied: &Applied<'_>, report: &mut Report) {
        self.applied += 1;
        self.follow(node, at, applied.index, report);
        if self.entries.is_empty() {
            self.first = applied.index;
            if applied.index > 1 {
                let what = format!("{node} applied {} before anybody applied anything", applied.index);
                report.safety("P2", CHECK, at, what);
            }
        }
        let digest = (applied.digest)().map(|digest| (digest, node));
        let end = self.end();
        match applied.index.checked_sub(self.first) {
            Some(_) if applied.index == end => {
                if self.entries.last().is_some_and(|last| last.term > applied.term) {
                    let what = format!("{node}: {} has term {}, after a later term", end, applied.term);
                    report.safety("P2", CHECK, at, what);
                }
                let bytes = applied.entry.map(Bytes::copy_from_slice);
                self.entries.push(Entry { term: applied.term, bytes, at, digest });
            }
            Some(place) if applied.index < end => {
                self.compare(place as usize, node, at, applied, digest, report)
            }
            _ => {
                let what = format!("{node} applied {}, and nobody applied {end} before", applied.index);
                report.safety("P2", CHECK, at, what);
            }
        }
    }

    /// Within a life a node applies one entry after another; a snapshot may take it further.
    fn follow(&mut self, node: Node, at: Duration, index: u64, report: &mut Report) {
        let slot = self.last.entry(node.id).or_insert((node.life, None));
        if slot.0 != node.life {
            *slot = (node.life, None);
        }
        match slot.1 {
            Some(last) if index <= last => {
                report.safety("P2", CHECK, at, format!("{node} applied {index} after {last}"));
            }
            Some(last) if index > last + 1 => self.jumps += 1,
            _ => {}
        }
        slot.1 = Some(index);
    }

    fn compare(
        &mut self,
        place: usize,
        node: Node,
        at: Duration,
        applied: &Applied<'_>,
        digest: Option<([u8; 16], Node)>,
        report: &mut Report,
    ) {
        let (entry, index) = (&mut self.entries[place], applied.index);
        if (entry.term, entry.bytes.as_deref()) != (applied.term, applied.entry) {
            let lengths = [entry.bytes.as_deref(), applied.entry].map(|bytes| bytes.map(<[u8]>::len));
            let what = format!(
                "{node} applied another entry at {index}: term {} and {:?} bytes, not term {} and {:?} bytes",
                applied.term, lengths[1], entry.term, lengths[0]
            );
            report.safety("P1", CHECK, at, what);
            return;
        }
        match (entry.digest, digest) {
            (Some((expected, by)), Some((given, _))) if given != expected => {
                let (given, expected) = (hex(&given), hex(&expected));
                let what = format!("after {index} {node} has the digest {given}, and {by} had {expected}");
                report.safety("P10", STATE, at, what);
            }
            (None, Some(_)) => entry.digest = digest,
            _ => {}
        }
    }

    /// A new life of a node begins: it may start again lower.
    pub(super) fn restarted(&mut self, node: usize) {
        if let Some(slot) = self.last.get_mut(&node) {
            slot.1 = None;
        }
    }

    /// The first index; meaningless while nothing was applied.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The index after the last.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.first)? as usize)
    }

    /// The last entry that had been applied by somebody at that time.
    pub(super) fn last_at(&self, at: Duration) -> Option<u64> {
        let count = self.entries.partition_point(|entry| entry.at <= at) as u64;
        (count > 0).then(|| self.first + count - 1)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    struct Told {
        log: CommittedLog,
        report: Report,
    }

    impl Told {
        fn apply(&mut self, id: usize, life: u32, index: u64, term: u64, entry: Option<&[u8]>, digest: u8) {
            let digest = move || Some([digest; 16]);
            let applied =
                Applied { data_dir: Path::new("d"), shard: 0, term, index, rows: 0, entry, digest: &digest };
            let at = Duration::from_millis(index);
            self.log.applied(Node { id, life }, at, &applied, &mut self.report);
        }
    }

    fn told() -> Told {
        let mut told = Told { log: CommittedLog::default(), report: Report::default() };
        told.apply(0, 1, 0, 0, None, 0);
        told.apply(0, 1, 1, 1, None, 0);
        told.apply(0, 1, 2, 1, Some(b"a"), 1);
        told.apply(0, 1, 3, 1, Some(b"b"), 2);
        told
    }

    #[test]
    fn the_same_entries_again_are_fine() {
        let mut told = told();
        told.apply(1, 1, 0, 0, None, 0);
        told.apply(1, 1, 3, 1, Some(b"b"), 2); // after a snapshot
        told.log.restarted(0);
        told.apply(0, 2, 2, 1, Some(b"a"), 1);
        told.apply(0, 2, 3, 1, Some(b"b"), 2);
        assert_eq!(told.report.violations(), []);
        assert_eq!((told.log.applied, told.log.jumps, told.log.end()), (8, 1, 4));
        assert_eq!(told.log.last_at(Duration::from_millis(2)), Some(2));
    }

    #[test]
    fn another_entry_another_term_and_another_state_are_seen() {
        type Act = fn(&mut Told);
        let cases: [(Act, &str); 6] = [
            (|told| told.apply(1, 1, 2, 1, Some(b"x"), 1), "another entry at 2"),
            (|told| told.apply(1, 1, 2, 2, Some(b"a"), 1), "another entry at 2"),
            (|told| told.apply(1, 1, 2, 1, Some(b"a"), 7), "after 2 n2 (life 1) has the digest"),
            (|told| told.apply(1, 1, 5, 1, Some(b"c"), 7), "nobody applied 4"),
            (|told| told.apply(0, 1, 3, 1, Some(b"b"), 2), "applied 3 after 3"),
            (|told| told.apply(0, 1, 4, 0, Some(b"c"), 2), "after a later term"),
        ];
        for (act, expected) in cases {
            let mut told = told();
            act(&mut told);
            let found = &told.report.violations()[0].what;
            assert!(found.contains(expected), "{found} for {expected}");
        }
    }
}
