//! How the voters stand: whether new bytes may be taken, and who had better lead. Figures in, verdicts out; nothing here
//! looks at a clock or at a disk.
//!
//! What commits needs a majority with room. So the leader takes new bytes as long as a majority of the voters is known to
//! have more than its reserve, and refuses them before that is no longer so: what is left then, the reserves of a majority,
//! is for what makes room (settles, purges, deletes). A voter that is full is like one that is down: a minority of them stops
//! nobody. A follower that nobody needs is sent nothing more before it is quite full: what it has left is for the snapshot
//! that lets it go on once there is less to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_simpoint::{Bug, planted};

/// A successor may lag behind the leader's log by so many entries: one that lags more would take over late.
const LAG_ENTRIES_MAX: u64 = 256;

/// What a node says of its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes that can still be stored.
    pub free_bytes: u64,
    /// Of these, bytes that are kept for what makes room.
    pub reserve_bytes: u64,
    /// A store of it waits for room.
    pub waiting: bool,
    /// For so long nothing of what waits for the log's disk got there.
    pub stalled: Duration,
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Less than the reserve.
    Short,
    /// Close to the reserve: whoever leads lets another lead.
    Low,
    /// Enough, and not enough to take over from one that is low, who may be better off a moment later.
    Fair,
    /// Enough.
    Roomy,
}

impl Report {
    /// How much room there is.
    pub fn level(&self) -> Level {
        let above = |more: u64| self.free_bytes >= self.reserve_bytes.saturating_add(more);
        match () {
            () if self.waiting || !above(0) => Level::Short,
            () if !above(self.reserve_bytes / 4) => Level::Low,
            () if !above(self.reserve_bytes / 2) => Level::Fair,
            () => Level::Roomy,
        }
    }

    /// Whether it has less than three quarters of its reserve; once it is spared, less than all of it.
    pub fn is_nearly_full(&self, is_spared: bool) -> bool {
        self.free_bytes < if is_spared { self.reserve_bytes } else { self.reserve_bytes / 4 * 3 }
    }

    /// Whether the log does not go on.
    pub fn is_stalled(&self, after: Duration) -> bool {
        self.stalled >= after
    }

    /// Whether another had better lead.
    pub fn is_in_need(&self, stall_after: Duration) -> bool {
        self.level() <= Level::Low || self.is_stalled(stall_after)
    }
}

/// The voters, as the leader sees them.
#[derive(Debug)]
pub struct Voters<'a> {
    /// One set, or two while they change: each needs a majority of its own.
    pub sets: &'a [BTreeSet<u64>],
    /// Who leads.
    pub leader: u64,
    /// What was said lately, by the leader itself, too.
    pub reports: &'a BTreeMap<u64, Report>,
    /// The leader is so new that not everybody had the time to report.
    pub is_new: bool,
    /// A log that does not go on for so long is stalled.
    pub stall_after: Duration,
    /// The leader's log takes no more, because for so long its disk took nothing: nobody's writes go on.
    pub blocked: Option<Duration>,
}

impl Voters<'_> {
    /// Whether new bytes may be taken; if not, who is short of room. Of somebody who says nothing it is not known: he
    /// may be down, and then does not help a majority, but he is not what room has to be made at.
    ///
    /// # Errors
    /// Who is short.
    pub fn admit(&self) -> Result<(), BTreeSet<u64>> {
        if planted(Bug::ReserveIgnored) {
            return Ok(());
        }
        let has_room = |id: &u64| match self.reports.get(id) {
            Some(_) if planted(Bug::RoomOfFollowersIgnored) && *id != self.leader => true,
            Some(report) => report.level() > Level::Short && !report.is_stalled(self.stall_after),
            None => self.is_new,
        };
        let is_short = |id: &&u64| self.reports.get(id).is_some_and(|r| r.level() == Level::Short);
        for set in self.sets {
            let short: BTreeSet<u64> = set.iter().filter(is_short).copied().collect();
            let majority = set.len() / 2 + 1;
            if set.iter().filter(|id| has_room(id)).count() < majority && !short.is_empty() {
                return Err(short);
            }
        }
        Ok(())
    }

    /// Which followers are sent nothing more, being nearly full: those that no majority needs. Where not all can be spared, those
    /// that are `already`, then those with the least room.
    pub fn spared(&self, already: &BTreeSet<u64>) -> BTreeSet<u64> {
        let is_able = |id: &u64| {
            self.reports.get(id).is_some_and(|report| !report.waiting && !report.is_stalled(self.stall_after))
        };
        let followers = self.reports.iter().filter(|(id, _)| **id != self.leader);
        let nearly_full = followers.filter(|(id, report)| report.is_nearly_full(already.contains(id)));
        let mut nearly_full: Vec<(bool, u64, u64)> =
            nearly_full.map(|(id, report)| (!already.contains(id), report.free_bytes, *id)).collect();
        nearly_full.sort_unstable();
        let mut spared = BTreeSet::new();
        for (_, _, id) in nearly_full {
            spared.insert(id);
            let is_enough = |set: &BTreeSet<u64>| {
                set.iter().filter(|id| is_able(id) && !spared.contains(id)).count() > set.len() / 2
            };
            if !self.sets.iter().all(is_enough) {
                spared.remove(&id);
            }
        }
        spared
    }

    /// Who had better lead, if the leader is in need and somebody is better off: by two levels, so that leadership is not
    /// handed to and fro, or with a log that goes on where the leader's does not. `matched` tells how far the log of a
    /// voter is known to be like the leader's, which ends at `last`.
    pub fn successor(&self, matched: impl Fn(u64) -> Option<u64>, last: u64) -> Option<u64> {
        let own = self.reports.get(&self.leader)?;
        let stands_still = own.is_stalled(self.stall_after) || self.blocked.is_some();
        if !stands_still && !own.is_in_need(self.stall_after) {
            return None;
        }
        let is_better = |other: &Report| match stands_still {
            true => other.level() > Level::Short,
            false => other.level() as u8 >= own.level() as u8 + 2,
        };
        // Who waits as long for a disk as a leader that is blocked would be blocked next.
        let too_long = self.blocked.map_or(self.stall_after, |after| after.min(self.stall_after));
        let able = self.sets.last()?.iter().filter(|id| **id != self.leader).filter_map(|id| {
            let report = self.reports.get(id)?;
            let fit = !report.is_stalled(too_long) && is_better(report);
            let matched = matched(*id).filter(|matched| matched + LAG_ENTRIES_MAX >= last)?;
            fit.then_some((report.level(), matched, std::cmp::Reverse(*id)))
        });
        able.max().map(|(_, _, std::cmp::Reverse(id))| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(5);
    const RESERVE: u64 = 100;

    fn with(free_bytes: u64) -> Report {
        Report { free_bytes, reserve_bytes: RESERVE, ..Report::default() }
    }

    fn stalled(free_bytes: u64) -> Report {
        Report { stalled: STALL, ..with(free_bytes) }
    }

    /// The voters 1, 2, … with these reports; 1 leads.
    fn judge(reports: &[Option<Report>], is_new: bool) -> Result<(), Vec<u64>> {
        let all = (1..).zip(reports);
        let set: BTreeSet<u64> = all.clone().map(|(id, _)| id).collect();
        let reports: BTreeMap<u64, Report> = all.filter_map(|(id, report)| Some((id, (*report)?))).collect();
        let voters =
            Voters { sets: &[set], leader: 1, reports: &reports, is_new, stall_after: STALL, blocked: None };
        voters.admit().map_err(|short| short.into_iter().collect())
    }

    #[test]
    fn levels_follow_the_reserve() {
        let levels = [0, 99, 100, 124, 125, 149, 150, 9000].map(|free| with(free).level());
        use Level::{Fair, Low, Roomy, Short};
        assert_eq!(levels, [Short, Short, Low, Low, Fair, Fair, Roomy, Roomy]);
        assert_eq!(Report { waiting: true, ..with(9000) }.level(), Short);
        assert_eq!(
            Report { reserve_bytes: 0, ..with(0) }.level(),
            Roomy,
            "without a reserve there is no line"
        );
    }

    #[test]
    fn new_bytes_need_a_majority_with_room() {
        let (room, short) = (Some(with(500)), Some(with(99)));
        assert_eq!(judge(&[room, room, room], false), Ok(()));
        assert_eq!(judge(&[room, room, short], false), Ok(()), "a minority that is full stops nobody");
        assert_eq!(judge(&[room, short, short], false), Err(vec![2, 3]));
        assert_eq!(judge(&[short, room, room], false), Ok(()), "the leader is one of them");
        assert_eq!(judge(&[short], false), Err(vec![1]));
        assert_eq!(judge(&[room, short], false), Err(vec![2]), "of two, both are the majority");
        assert_eq!(judge(&[room, room, room, short, short], false), Ok(()));
        assert_eq!(judge(&[room, room, short, short, short], false), Err(vec![3, 4, 5]));
    }

    #[test]
    fn who_says_nothing_is_not_counted_and_not_blamed() {
        let (room, short) = (Some(with(500)), Some(with(99)));
        assert_eq!(judge(&[room, short, None], false), Err(vec![2]), "the full one is the other half");
        assert_eq!(judge(&[room, None, None], false), Ok(()), "a quorum is missing, not room");
        assert_eq!(judge(&[room, short, None], true), Ok(()), "a new leader gives them time to report");
        assert_eq!(judge(&[room, short, short], true), Err(vec![2, 3]));
    }

    #[test]
    fn a_stalled_log_counts_as_no_room_and_is_not_what_lacks_it() {
        let (room, short, hung) = (Some(with(500)), Some(with(99)), Some(stalled(500)));
        assert_eq!(judge(&[room, hung, room], false), Ok(()));
        assert_eq!(judge(&[room, hung, short], false), Err(vec![3]));
        assert_eq!(judge(&[room, hung, hung], false), Ok(()));
    }

    #[test]
    fn while_voters_change_each_set_needs_its_majority() {
        let reports: BTreeMap<u64, Report> =
            [(1, with(500)), (2, with(500)), (3, with(9)), (4, with(9)), (5, with(9))].into();
        let admit = |sets: &[BTreeSet<u64>]| {
            let voters = Voters {
                sets,
                leader: 1,
                reports: &reports,
                is_new: false,
                stall_after: STALL,
                blocked: None,
            };
            voters.admit()
        };
        assert_eq!(admit(&[[1, 2, 3].into()]), Ok(()));
        assert_eq!(admit(&[[1, 2, 3].into(), [1, 4, 5].into()]), Err([4, 5].into()));
    }

    const NOBODY: [u64; 0] = [];

    fn spared(reports: &[Option<Report>], already: &[u64]) -> Vec<u64> {
        let all = (1..).zip(reports);
        let set: BTreeSet<u64> = all.clone().map(|(id, _)| id).collect();
        let reports: BTreeMap<u64, Report> = all.filter_map(|(id, report)| Some((id, (*report)?))).collect();
        let voters = Voters {
            sets: &[set],
            leader: 1,
            reports: &reports,
            is_new: false,
            stall_after: STALL,
            blocked: None,
        };
        voters.spared(&already.iter().copied().collect()).into_iter().collect()
    }

    #[test]
    fn a_nearly_full_follower_that_nobody_needs_is_spared() {
        let (room, more, less) = (Some(with(500)), Some(with(75)), Some(with(74)));
        assert_eq!(spared(&[room, room, more], &[]), NOBODY);
        assert_eq!(spared(&[room, room, less], &[]), [3]);
        assert_eq!(spared(&[room, room, Some(with(99))], &[3]), [3], "not before it has clearly more");
        assert_eq!(spared(&[room, room, Some(with(100))], &[3]), NOBODY);
        assert_eq!(spared(&[less, room, room], &[]), NOBODY, "whoever leads has what it takes already");
        assert_eq!(spared(&[room, less], &[]), NOBODY, "both of two are needed");
    }

    #[test]
    fn of_those_that_are_nearly_full_a_majority_goes_on() {
        let (room, less, hung) = (Some(with(500)), Some(with(49)), Some(stalled(500)));
        assert_eq!(spared(&[room, Some(with(20)), Some(with(10))], &[]), [3], "the fullest");
        assert_eq!(spared(&[room, Some(with(20)), Some(with(10))], &[2]), [2], "who is spared already");
        assert_eq!(spared(&[less, less, less, less, less], &[5]), [2, 5]);
        assert_eq!(spared(&[room, hung, less], &[]), NOBODY, "instead of one that hangs");
        assert_eq!(spared(&[room, None, less], &[3]), NOBODY, "or says nothing");
        let waits = Report { waiting: true, ..with(0) };
        assert_eq!(spared(&[room, Some(waits), less], &[]), [2], "who waits for room helps no majority");
    }

    #[test]
    fn a_learner_can_be_spared_whoever_else_is() {
        let reports = [(1, with(500)), (2, with(500)), (3, with(9)), (4, with(9))].into();
        let sets = [[1, 2, 3].into()];
        let voters = Voters {
            sets: &sets,
            leader: 1,
            reports: &reports,
            is_new: false,
            stall_after: STALL,
            blocked: None,
        };
        assert_eq!(voters.spared(&BTreeSet::new()), [3, 4].into());
    }

    fn successor(reports: &[Report], matched: &[u64]) -> Option<u64> {
        let set: BTreeSet<u64> = (1..=reports.len() as u64).collect();
        let reports: BTreeMap<u64, Report> = (1..).zip(reports.iter().copied()).collect();
        let voters = Voters {
            sets: &[set],
            leader: 1,
            reports: &reports,
            is_new: false,
            stall_after: STALL,
            blocked: None,
        };
        voters.successor(|id| matched.get(id as usize - 1).copied(), 1000)
    }

    #[test]
    fn leadership_goes_to_who_is_clearly_better_off() {
        let up = [1000, 1000, 1000];
        assert_eq!(successor(&[with(500), with(900), with(900)], &up), None, "nobody is in need");
        assert_eq!(successor(&[with(110), with(500), with(500)], &up), Some(2));
        assert_eq!(successor(&[with(110), with(140), with(500)], &up), Some(3));
        assert_eq!(successor(&[with(110), with(140), with(110)], &up), None, "not better by two levels");
        assert_eq!(successor(&[with(9), with(140), with(9)], &up), Some(2));
        assert_eq!(successor(&[with(9), with(9), with(9)], &up), None, "all are full: nobody hands over");
        assert_eq!(successor(&[with(110), with(500), with(500)], &[1000, 700, 999]), Some(3), "2 lags");
        assert_eq!(successor(&[with(110), with(500), with(500)], &[1000, 1, 1]), None);
    }

    #[test]
    fn a_stalled_leader_takes_who_is_not() {
        let up = [1000, 1000, 1000];
        assert_eq!(successor(&[stalled(500), with(500), with(500)], &up), Some(2));
        assert_eq!(successor(&[stalled(500), stalled(500), with(110)], &up), Some(3));
        assert_eq!(successor(&[stalled(500), stalled(500), with(9)], &up), None);
        assert_eq!(successor(&[stalled(500), stalled(500), stalled(500)], &up), None);
        assert_eq!(successor(&[with(9), stalled(500), with(9)], &up), None);
    }

    #[test]
    fn a_blocked_leader_takes_who_is_not_about_to_be() {
        let soon = STALL / 10;
        let waits = |stalled| Report { stalled, ..with(500) };
        let successor = |blocked, others: [Report; 2]| {
            let reports = [(1, waits(soon)), (2, others[0]), (3, others[1])].into();
            let sets = [[1, 2, 3].into()];
            let (leader, stall_after) = (1, STALL);
            let voters =
                Voters { sets: &sets, leader, reports: &reports, is_new: false, stall_after, blocked };
            voters.successor(|_| Some(1000), 1000)
        };
        assert_eq!(successor(None, [with(500), with(500)]), None, "it has room for what waits");
        assert_eq!(successor(Some(soon), [with(500), with(500)]), Some(2));
        assert_eq!(successor(Some(soon), [waits(soon), waits(soon / 2)]), Some(3));
        assert_eq!(successor(Some(soon), [waits(soon), waits(soon)]), None, "all disks are slow");
        assert_eq!(successor(Some(soon), [with(9), with(9)]), None);
    }

    /// Whoever hands over to another is never handed it back by that one with the same figures.
    #[test]
    fn leadership_is_not_handed_to_and_fro() {
        let figures = [0, 99, 110, 130, 160].map(with).into_iter().chain([0, 110, 500].map(stalled));
        for one in figures.clone() {
            for other in figures.clone() {
                let there = successor(&[one, other], &[1000, 1000]).is_some();
                let back = successor(&[other, one], &[1000, 1000]).is_some();
                assert!(!(there && back), "{one:?} {other:?}");
            }
        }
    }
}
