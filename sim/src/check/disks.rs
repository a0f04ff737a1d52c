//! What disks that hang or are full may do to a cluster: while the nodes see one another and nothing else is the matter, a
//! leader in need hands over to one that is at ease, new bytes are refused where a majority is full, and no follower holds
//! the log.
//!
//! Each is a state that may come about and may not last: it is looked at often, and counted from when it was first seen.

use std::time::Duration;

use quorate_storage::Room;

use super::report::Report;
use crate::world::{NodeHost, World};

/// Looked at once in so many ticks.
const EVERY: u64 = 20;
/// A leader without room has handed over within this, if there is a good successor all the time.
const HAND_OVER_MAX: Duration = Duration::from_secs(6);
/// A full majority is known within this.
const REFUSE_MAX: Duration = Duration::from_secs(3);
/// The log is not held for longer than this: some looks at it.
const HELD_MAX: Duration = Duration::from_secs(6);
/// A follower that is so close to the leader could take over.
const LAG_ENTRIES_MAX: u64 = 100;
/// How many times its bound the useless part of a log may have for a moment.
const BOUNDS_MAX: u64 = 3;

/// Since when something that may not last is so, and of which leadership.
#[derive(Debug, Default)]
struct Since(Option<(Lead, Duration)>);

/// Who leads, in which term and life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lead {
    node: usize,
    term: u64,
    life: u32,
}

impl Since {
    /// For how long it has been so without a break.
    fn lasts(&mut self, is_so: bool, lead: Lead, now: Duration) -> Duration {
        match self.0 {
            Some((of, since)) if is_so && of == lead => now - since,
            _ => {
                self.0 = is_so.then_some((lead, now));
                Duration::ZERO
            }
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Disks {
    ticks: u64,
    stays: Since,
    admits: Since,
    held: Since,
    /// Up to where the leader's log was purged when that was last looked at.
    purged: Option<u64>,
}

impl Disks {
    /// Looks at the leader.
    pub(super) fn tick(&mut self, world: &World, report: &mut Report) {
        self.ticks += 1;
        if !self.ticks.is_multiple_of(EVERY) {
            return;
        }
        let Some(node) = crate::faults::leader(world) else {
            *self = Self { ticks: self.ticks, ..Self::default() };
            return;
        };
        let host = &world.nodes[node];
        let Some(shard) = host.shard() else { return };
        let lead = Lead { node, term: shard.leadership.borrow().term, life: host.lives() };
        let heartbeat = Duration::from_millis(host.raft().heartbeat_ms);
        let calm = world.net.lets_nodes_talk(heartbeat) && world.nodes.iter().all(|node| node.is_running());
        let now = world.elapsed();
        let is_so = calm && in_need(host) && world.nodes.iter().any(|other| could_lead(other, host));
        let lasts = self.stays.lasts(is_so, lead, now);
        let patience =
            HAND_OVER_MAX + if is_short(host) { Duration::ZERO } else { host.raft().log_stall_after };
        if lasts > patience {
            let what = format!("{} leads for {lasts:?} although its disk is full or stalled", host.name());
            report.liveness("P8", "leader-in-need", now, what);
        }
        let full = world.nodes.iter().filter(|node| is_short(node)).count();
        let is_so = calm && full > world.nodes.len() / 2 && shard.replica.refusal().borrow().is_none();
        let lasts = self.admits.lasts(is_so && !in_need(host), lead, now);
        if lasts > REFUSE_MAX {
            let what =
                format!("{} takes new bytes though {full} disks have been full for {lasts:?}", host.name());
            report.safety("P11", "room-of-a-majority", now, what);
        }
        self.look_at_the_log(world, lead, calm, report);
    }

    /// What is of no use to anybody but a follower that does not keep up goes sooner or later.
    fn look_at_the_log(&mut self, world: &World, lead: Lead, calm: bool, report: &mut Report) {
        let host = &world.nodes[lead.node];
        let Some(shard) = host.shard() else { return };
        let (log, state) = (shard.replica.log(), shard.state());
        let bound = host.raft().log_bytes_max;
        let purged = log.purged().map(|id| id.index);
        let stands = std::mem::replace(&mut self.purged, purged) == purged;
        // So far the log could be purged and would still be longer than its bound allows.
        let over = log.bytes().saturating_sub(BOUNDS_MAX * bound);
        let useless = log.index_leaving(log.bytes() - over).ok().flatten().map_or(0, |id| id.index);
        let needed = state.needed_from().min(state.flushed().map_or(0, |id| id.index));
        let is_so = calm && host.is_at_ease() && stands && over > 0 && useless > 0 && useless < needed;
        let lasts = self.held.lasts(is_so, lead, world.elapsed());
        if lasts > HELD_MAX {
            let what = format!(
                "the log of {} has {} bytes, {over} of them for nobody, and has not been purged for {lasts:?}",
                host.name(),
                log.bytes()
            );
            report.liveness("P12", "log-held", world.elapsed(), what);
        }
    }
}

/// The room of a node that runs, where that is tightest.
fn room(host: &NodeHost) -> Option<Room> {
    host.shard().map(|shard| shard.replica.log().room().tighter(shard.state().room()))
}

/// Whether a node has less than its reserve.
fn is_short(host: &NodeHost) -> bool {
    room(host).is_some_and(|room| room.waiting || room.free_bytes < room.reserve_bytes)
}

/// Whether another had better lead.
fn in_need(host: &NodeHost) -> bool {
    let stalls =
        || host.shard().is_some_and(|shard| shard.replica.log().durable() < shard.replica.log().last());
    is_short(host) || host.is_log_stalled() && stalls()
}

/// Whether a node could take over from that leader.
fn could_lead(other: &NodeHost, leader: &NodeHost) -> bool {
    let last = |host: &NodeHost| host.shard().map_or(0, |shard| shard.replica.last_index());
    let is_voter = |shard: quorate_node::shards::Shard| {
        let membership = shard.replica.membership();
        membership.members.iter().any(|m| m.peer.name == other.name() && membership.is_voter(m.id))
    };
    other.is_at_ease() && last(other) + LAG_ENTRIES_MAX > last(leader) && leader.shard().is_some_and(is_voter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_lasts_while_it_is_so_under_one_leader() {
        let (s, lead) = (Duration::from_secs, Lead { node: 0, term: 1, life: 1 });
        let mut since = Since::default();
        let mut look = |is_so, term, at| since.lasts(is_so, Lead { term, ..lead }, s(at));
        assert_eq!([look(true, 1, 1), look(true, 1, 3), look(true, 1, 4)], [s(0), s(2), s(3)]);
        assert_eq!([look(true, 2, 5), look(true, 2, 7)], [s(0), s(2)], "another term begins anew");
        assert_eq!([look(false, 2, 8), look(true, 2, 9), look(true, 2, 10)], [s(0), s(0), s(1)]);
    }
}
