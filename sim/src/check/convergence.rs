//! B12: when all is healed and quiet, every running node has applied the same entries and holds the same rows, which are
//! those of a replay of the log.

use std::time::Duration;

use quorate_machine::MemoryStore;
use quorate_machine::store::Read;

use super::log::{CommittedLog, hex};
use super::replay::Replay;
use super::report::Report;
use crate::world::World;

const CHECK: &str = "B12-convergence";

/// Where a node has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arrived {
    node: usize,
    applied: Option<u64>,
    membership: Vec<u8>,
}

/// Compares the running nodes with each other and with the replay. Returns how many rows were compared.
pub(super) fn check(world: &World, log: &CommittedLog, replay: &Replay, report: &mut Report) -> u64 {
    let at = world.elapsed();
    let (mut arrived, mut rows) = (Vec::new(), 0);
    for (node, host) in world.nodes.iter().enumerate() {
        let Some(shard) = host.shard() else { continue };
        let state = shard.state().read();
        let applied = state.applied().last.map(|id| id.index);
        arrived.push(Arrived { node, applied, membership: state.applied().membership.to_vec() });
        if applied.map(|index| index + 1) == Some(replay.next()) && replay.next() == log.end() {
            rows += same_rows(node, &state, replay.store(), at, report);
        }
    }
    together(&arrived, at, report);
    rows
}

fn together(arrived: &[Arrived], at: Duration, report: &mut Report) {
    let Some(furthest) = arrived.iter().max_by_key(|node| node.applied) else { return };
    for node in arrived {
        let (name, of) = (node.node + 1, furthest.node + 1);
        if node.applied != furthest.applied {
            let what = format!("n{name} has applied {:?}, n{of} {:?}", node.applied, furthest.applied);
            report.liveness("P8", CHECK, at, what);
        } else if node.membership != furthest.membership {
            let [mine, its] = [node, furthest].map(|node| hex(&node.membership));
            report.safety("P10", CHECK, at, format!("n{name} has the membership {mine}, n{of} {its}"));
        }
    }
}

/// Every row, both ways.
fn same_rows(
    node: usize,
    state: &impl Read,
    reference: &MemoryStore,
    at: Duration,
    report: &mut Report,
) -> u64 {
    let (mut from, mut rows) = (vec![0u8], 0);
    let mut expected = reference.rows();
    loop {
        let row = match state.first(&from, &[u8::MAX]) {
            Ok(row) => row,
            Err(_) => return rows, // the disk under it is damaged, which is the storage's to report
        };
        let given = row.as_ref().map(|(key, value)| (&key[..], value));
        let wanted = expected.next();
        if given != wanted {
            let text =
                |row: Option<(&[u8], _)>| row.map_or_else(|| "nothing".to_owned(), |(key, _)| hex(key));
            let what = format!(
                "n{} has at row {rows} the key {}, a replay of the log {}; or their values differ",
                node + 1,
                text(given),
                text(wanted)
            );
            report.safety("P10", CHECK, at, what);
            return rows;
        }
        let Some((key, _)) = row else { return rows };
        rows += 1;
        from.clear();
        from.extend_from_slice(&key);
        from.push(0);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn store(rows: &[(&'static [u8], &'static [u8])]) -> MemoryStore {
        rows.iter().map(|(key, value)| (key.to_vec(), Bytes::from_static(value))).collect()
    }

    #[test]
    fn every_row_counts() {
        let reference = store(&[(b"a", b"1"), (b"b", b"2")]);
        let found = |other: MemoryStore| {
            let mut report = Report::default();
            same_rows(0, &other, &reference, Duration::ZERO, &mut report);
            report.found()
        };
        assert_eq!(found(reference.clone()), 0);
        assert_eq!(found(store(&[(b"a", b"1")])), 1);
        assert_eq!(found(store(&[(b"a", b"1"), (b"b", b"3")])), 1);
        assert_eq!(found(store(&[(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])), 1);
        assert_eq!(found(store(&[(b"a", b"1"), (b"aa", b""), (b"b", b"2")])), 1);
    }

    #[test]
    fn nodes_that_stay_behind_or_know_other_members_are_seen() {
        let node = |node, applied, member| Arrived { node, applied: Some(applied), membership: vec![member] };
        let found = |nodes: &[Arrived]| {
            let mut report = Report::default();
            together(nodes, Duration::ZERO, &mut report);
            report.violations().iter().map(|v| v.promise).collect::<Vec<_>>()
        };
        assert_eq!(found(&[node(0, 7, 1), node(1, 7, 1), node(2, 7, 1)]), Vec::<&str>::new());
        assert_eq!(found(&[node(0, 7, 1), node(1, 6, 1), node(2, 7, 1)]), ["P8"]);
        assert_eq!(found(&[node(0, 7, 1), node(1, 7, 2), node(2, 7, 1)]), ["P10"]);
    }
}
