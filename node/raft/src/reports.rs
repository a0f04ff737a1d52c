//! What the nodes say of their disks, and whom a node heard lead.
//!
//! A report comes with every answer to a heartbeat, also where there is no answer: a follower whose disk hangs
//! acknowledges nothing, and that is when its report matters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_proto::peer::v1 as wire;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::standing::{Level, Report};
use crate::types::Vote;

/// The last report of each peer.
#[derive(Default)]
pub struct Reports {
    by_peer: Mutex<BTreeMap<u64, (Instant, Report)>>,
    /// Counts reports that say something else than the one before of the same peer.
    news: watch::Sender<u64>,
    /// Who is sent nothing more for now, see [`crate::standing::Voters::spared`].
    spared: Mutex<BTreeSet<u64>>,
}

impl Reports {
    /// A peer said this.
    pub fn note(&self, peer: u64, report: Report) {
        let before = self.by_peer.lock().insert(peer, (Instant::now(), report));
        let class = |report: Report| (report.level(), report.is_nearly_full(false), report.stalled.is_zero());
        if before.map(|(_, report)| class(report)) != Some(class(report)) {
            self.news.send_modify(|count| *count += 1);
        }
    }

    /// Told when a peer says something else than before.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// What was said within the last `age`.
    pub fn within(&self, age: Duration) -> BTreeMap<u64, Report> {
        self.within_at(age, Instant::now())
    }

    fn within_at(&self, age: Duration, now: Instant) -> BTreeMap<u64, Report> {
        let by_peer = self.by_peer.lock();
        let fresh = by_peer.iter().filter(|(_, (at, _))| now.duration_since(*at) <= age);
        fresh.map(|(id, (_, report))| (*id, *report)).collect()
    }

    /// Who is sent nothing more for now.
    pub fn spared(&self) -> BTreeSet<u64> {
        self.spared.lock().clone()
    }

    /// From now on these are.
    pub fn spare(&self, peers: BTreeSet<u64>) {
        *self.spared.lock() = peers;
    }

    /// Whether a peer said within the last `age` that it takes nothing more for now.
    pub fn is_stuck(&self, peer: u64, age: Duration, stall_after: Duration) -> bool {
        let by_peer = self.by_peer.lock();
        by_peer.get(&peer).is_some_and(|(at, report)| {
            at.elapsed() <= age && (report.waiting || report.is_stalled(stall_after))
        })
    }
}

/// Who was heard to lead, straight from the network: a node whose disk hangs learns of a new leader here long before its
/// own vote for it is on disk.
#[derive(Default)]
pub struct Heard {
    /// Term and node of the latest leader.
    leader: watch::Sender<Option<(u64, u64)>>,
    at: Mutex<Option<Instant>>,
}

impl Heard {
    /// A leader spoke.
    pub fn note(&self, vote: &Vote) {
        let spoke = (vote.leader_id.term, vote.leader_id.node_id);
        if !vote.committed || *self.leader.borrow() > Some(spoke) {
            return;
        }
        *self.at.lock() = Some(Instant::now());
        self.leader.send_if_modified(|latest| latest.replace(spoke) != Some(spoke));
    }

    /// Term and node of the latest leader that spoke.
    pub fn leader(&self) -> watch::Receiver<Option<(u64, u64)>> {
        self.leader.subscribe()
    }

    /// Whether a leader spoke within the last `age`.
    pub fn within(&self, age: Duration) -> bool {
        self.at.lock().is_some_and(|at| at.elapsed() <= age)
    }
}

/// A report, for the wire.
pub fn report_to_wire(report: &Report) -> wire::Report {
    wire::Report {
        free_bytes: report.free_bytes,
        reserve_bytes: report.reserve_bytes,
        waiting: report.waiting,
        stalled_ms: u64::try_from(report.stalled.as_millis()).unwrap_or(u64::MAX),
    }
}

/// A report, from the wire.
pub fn report_from_wire(report: &wire::Report) -> Report {
    Report {
        free_bytes: report.free_bytes,
        reserve_bytes: report.reserve_bytes,
        waiting: report.waiting,
        stalled: Duration::from_millis(report.stalled_ms),
    }
}

/// Why new bytes are refused: too few of the voters have more than their reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Those that have less.
    pub nodes: Vec<Short>,
    /// How many voters there are.
    pub voters: usize,
}

/// A node with less room than its reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// Its name.
    pub name: String,
    /// Its figures.
    pub report: Report,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let says = |Short { name, report }: &Short| {
            let waits = if report.waiting { ", and a store of it waits for room" } else { "" };
            let (free, reserve) = (in_mib(report.free_bytes), in_mib(report.reserve_bytes));
            format!("{name} has {free} free of a reserve of {reserve}{waits}")
        };
        let (short, voters): (Vec<String>, usize) = (self.nodes.iter().map(says).collect(), self.voters);
        let majority = voters / 2 + 1;
        write!(f, "{}; {majority} of {voters} voters must have more than their reserve", short.join(", "))
    }
}

fn in_mib(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// In a word, for people and programs.
pub fn in_a_word(report: &Report, stall_after: Duration) -> &'static str {
    match report.level() {
        _ if report.is_stalled(stall_after) => "stalled",
        _ if report.waiting => "waiting",
        Level::Short => "short",
        Level::Low => "low",
        Level::Fair | Level::Roomy => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::vote_from_wire;

    fn vote(term: u64, node: u64, committed: bool) -> Vote {
        vote_from_wire(wire::Vote { term, node, committed })
    }

    #[test]
    fn reports_age() {
        let reports = Reports::default();
        let mut news = reports.news();
        let report = Report { free_bytes: 7, ..Report::default() };
        reports.note(2, report);
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        reports.note(2, Report { free_bytes: 8, ..report });
        assert!(!news.has_changed().unwrap(), "a byte more is no news");
        let stalled = Report { stalled: Duration::from_secs(6), ..report };
        reports.note(2, stalled);
        assert!(news.has_changed().unwrap());
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(reports.within_at(second, now), [(2, stalled)].into());
        assert!(reports.within_at(second, now + 2 * second).is_empty());
        let (minute, five) = (60 * second, 5 * second);
        assert!(reports.is_stuck(2, minute, five) && !reports.is_stuck(3, minute, five));
        assert!(!reports.is_stuck(2, minute, 7 * second));
        assert!(!reports.is_stuck(2, Duration::ZERO, five), "of somebody who says nothing nobody knows");
    }

    #[test]
    fn the_latest_leader_is_heard() {
        let heard = Heard::default();
        assert!(!heard.within(Duration::MAX));
        heard.note(&vote(3, 1, false));
        assert_eq!(*heard.leader().borrow(), None, "a candidate leads nobody");
        for (term, node, latest) in [(3, 1, (3, 1)), (2, 2, (3, 1)), (3, 2, (3, 2)), (4, 1, (4, 1))] {
            heard.note(&vote(term, node, true));
            assert_eq!(*heard.leader().borrow(), Some(latest));
        }
        assert!(heard.within(Duration::from_secs(60)) && !heard.within(Duration::ZERO));
    }

    #[test]
    fn a_refusal_names_figures_and_nodes() {
        let report = |free_bytes, waiting| Report {
            free_bytes,
            reserve_bytes: 64 << 20,
            waiting,
            stalled: Duration::ZERO,
        };
        let short = |name: &str, report| Short { name: name.into(), report };
        let nodes = vec![short("n2", report(12 << 20, false)), short("n3", report(4 << 10, true))];
        assert_eq!(
            Shortage { nodes, voters: 3 }.to_string(),
            "n2 has 12 MiB free of a reserve of 64 MiB, n3 has 4 KiB free of a reserve of 64 MiB, and a store of it \
             waits for room; 2 of 3 voters must have more than their reserve"
        );
    }
}
