//! How this node's disk is doing, and what follows from that for who leads.
//!
//! Every node looks at its own room and at whether its log goes on, and says so in its answers to heartbeats. A leader that
//! is short of room or whose log stands still lets another lead that is better off; who is in need does not stand for
//! election before the others had their time to. As long as there is room for what waits for a disk, others do not notice
//! that it hangs; when there is none they wait, and the leader lets another lead much earlier.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_simpoint::{Bug, planted};
use quorate_storage::Room;
use quorate_storage::log::ShardLog;
use quorate_storage::state::State;
use tokio::time::Instant;

use crate::replica::{Leadership, Replica};
use crate::reports::{Short, Shortage};
use crate::standing::{Level, Report, Voters};

/// How often a node looks at itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a leader waits for another one to take over before it goes on; then the elections decide.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// A leader that could not hand over tries again after this.
const HAND_OVER_INTERVAL: Duration = Duration::from_secs(5);

/// What a node knows of its own disk.
pub struct Health {
    log: ShardLog,
    state: State,
    silent_after: Duration,
    progress: Mutex<Progress>,
}

/// Whether a log goes on.
#[derive(Debug, Default)]
struct Progress {
    durable: Option<u64>,
    /// Since when something waits for the disk and nothing got there.
    since: Option<Instant>,
    /// When a leader last spoke and Raft's own task did not answer in time: it waits for the disk, too, if it is to write a
    /// vote or to cut the log off.
    unanswered: Option<Instant>,
}

impl Progress {
    /// For how long nothing of what waits got to the disk, which has everything up to `durable` of a log that ends at
    /// `last`.
    fn look(
        &mut self,
        durable: Option<u64>,
        last: Option<u64>,
        silent_after: Duration,
        now: Instant,
    ) -> Duration {
        let core_waits = self.unanswered.is_some_and(|at| now.duration_since(at) < silent_after);
        let waits = durable < last || core_waits;
        if !waits || self.durable != durable {
            self.since = waits.then_some(now);
        }
        self.durable = durable;
        if waits { now.duration_since(*self.since.get_or_insert(now)) } else { Duration::ZERO }
    }
}

impl Health {
    /// Of a node that hears from a leader at least every `silent_after`.
    pub fn new(log: ShardLog, state: State, silent_after: Duration) -> Self {
        Self { log, state, silent_after, progress: Mutex::default() }
    }

    /// How it is now.
    pub fn report(&self) -> Report {
        let index = |id: Option<quorate_storage::log::LogId>| id.map(|id| id.index);
        let (durable, last) = (index(self.log.durable()), index(self.log.last()));
        let stalled = self.progress.lock().look(durable, last, self.silent_after, Instant::now());
        let Room { free_bytes, reserve_bytes, waiting, .. } = self.log.room().tighter(self.state.room());
        Report { free_bytes, reserve_bytes, waiting, stalled }
    }

    /// Whether the log takes no more.
    fn is_log_full(&self) -> bool {
        self.log.queued_bytes() > self.log.queue_bytes_max()
    }

    /// Raft's own task answered a leader, or did not answer in time.
    pub fn core_answered(&self, in_time: bool) {
        self.progress.lock().unanswered = (!in_time).then(Instant::now);
    }
}

/// What a node remembers between two looks.
#[derive(Default)]
struct Watch {
    /// Since when it leads.
    leads_since: Option<Instant>,
    tried: Option<Instant>,
    in_need: bool,
}

/// Runs until the replica stops.
pub async fn run(replica: Replica) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut leadership, mut news) = (replica.leadership(), replica.reports().news());
    let mut watch = Watch::default();
    loop {
        tokio::select! {
            biased;
            changed = leadership.changed() => if changed.is_err() { return },
            _ = news.changed() => {}
            _ = interval.tick() => {}
        }
        let now = leadership.borrow_and_update().clone();
        watch.look(&replica, &now).await;
    }
}

impl Watch {
    async fn look(&mut self, replica: &Replica, leadership: &Leadership) {
        let (own, settings) = (replica.health().report(), replica.settings());
        self.say(replica, &own);
        // Who is in need leaves it to the others to stand for election, as long as there is or may be another leader.
        let others_first = replica.heard().within(3 * Duration::from_millis(settings.election_ms_max));
        replica.raft().runtime_config().elect(leadership.mine || !self.in_need || !others_first);
        if !leadership.mine {
            *self = Self { in_need: self.in_need, ..Self::default() };
            replica.reports().spare(BTreeSet::new());
            replica.refuse(None);
            return;
        }
        let leads_since = *self.leads_since.get_or_insert_with(Instant::now);
        let silent_after = settings.silent_after();
        let mut reports = replica.reports().within(silent_after);
        reports.insert(replica.node_id(), own);
        let membership = replica.membership();
        let (leads_for, blocked_after) = (leads_since.elapsed(), settings.log_blocked_after());
        let is_blocked = replica.health().is_log_full()
            && own.is_stalled(blocked_after)
            && leads_for >= settings.settled_after();
        let voters = Voters {
            sets: &membership.voters,
            leader: replica.node_id(),
            reports: &reports,
            is_new: leads_for < silent_after,
            stall_after: settings.log_stall_after,
            blocked: (is_blocked && !planted(Bug::BlockedLeaderStays)).then_some(blocked_after),
        };
        spare(replica, &voters);
        let successor = voters.successor(|id| replica.matched(id), replica.last_index());
        replica.refuse(voters.admit().err().map(|short| {
            let named = short.iter().filter_map(|id| {
                let member = membership.members.iter().find(|member| member.id == *id)?;
                Some(Short { name: member.peer.name.clone(), report: *reports.get(id)? })
            });
            Shortage { nodes: named.collect(), voters: membership.target().len() }
        }));
        if let Some(to) = successor {
            let why = match own.is_in_need(settings.log_stall_after) {
                true => problem(&own, settings.log_stall_after),
                false => "its log takes no more and nothing gets to the log's disk: look at the disk",
            };
            self.hand_over(replica, why, to).await;
        }
    }

    async fn hand_over(&mut self, replica: &Replica, why: &str, to: u64) {
        if planted(Bug::StalledLeaderStays) || self.tried.is_some_and(|at| at.elapsed() < HAND_OVER_INTERVAL)
        {
            return;
        }
        self.tried = Some(Instant::now());
        tracing::warn!(to, why, "this leader lets another one lead");
        replica.hand_over_to(to, HAND_OVER_TIMEOUT).await;
    }

    /// Tells the log of the node, once for each change.
    fn say(&mut self, replica: &Replica, own: &Report) {
        let stall_after = replica.settings().log_stall_after;
        let in_need = own.is_in_need(stall_after);
        if std::mem::replace(&mut self.in_need, in_need) == in_need {
            return;
        }
        if in_need {
            tracing::error!(
                free_bytes = own.free_bytes,
                reserve_bytes = own.reserve_bytes,
                stalled_ms = own.stalled.as_millis(),
                "{}",
                problem(own, stall_after)
            );
        } else {
            tracing::warn!(free_bytes = own.free_bytes, "the disk of this node is well again");
        }
    }
}

/// Ends the streams to followers that are sent nothing more from now on.
fn spare(replica: &Replica, voters: &Voters<'_>) {
    let before = replica.reports().spared();
    let now = if planted(Bug::FullFollowerFed) { BTreeSet::new() } else { voters.spared(&before) };
    if now == before {
        return;
    }
    replica.reports().spare(now.clone());
    for id in now.symmetric_difference(&before) {
        let follower = replica.members().into_iter().find(|member| member.id == *id);
        let follower = follower.map(|member| member.name);
        if now.contains(id) {
            replica.resets().reset(*id);
            tracing::warn!(
                follower,
                "it has less than three quarters of its reserve and gets no entries until it has all of it"
            );
        } else {
            tracing::warn!(follower, "it has room again or is needed, and gets entries");
        }
    }
}

fn problem(own: &Report, stall_after: Duration) -> &'static str {
    match own.level() {
        _ if own.is_stalled(stall_after) => {
            "nothing that waits for the log's disk gets there: look at the disk"
        }
        Level::Short => "the disk of this node has less than its reserve: make room, or give it more",
        _ => "the disk of this node is close to its reserve: make room, or give it more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_log_stalls_when_something_waits_and_nothing_gets_there() {
        let (mut progress, mut now) = (Progress::default(), Instant::now());
        let mut look = |durable: Option<u64>, last: Option<u64>| {
            now += SECOND;
            progress.look(durable, last, SECOND, now)
        };
        assert_eq!(look(None, None), Duration::ZERO);
        assert_eq!(look(Some(7), Some(7)), Duration::ZERO, "nothing waits, however long");
        assert_eq!(look(Some(7), Some(8)), Duration::ZERO);
        assert_eq!(look(Some(7), Some(9)), SECOND);
        assert_eq!(look(Some(7), Some(90)), 2 * SECOND);
        assert_eq!(look(Some(8), Some(90)), Duration::ZERO, "slow, and not stalled");
        assert_eq!(look(Some(8), Some(90)), SECOND);
        assert_eq!(look(Some(90), Some(90)), Duration::ZERO);
        assert_eq!(look(Some(90), Some(91)), Duration::ZERO);
        assert_eq!(look(Some(80), Some(80)), Duration::ZERO, "what was cut off waits no more");
    }

    #[test]
    fn so_does_one_whose_vote_does_not_get_there() {
        let (mut progress, mut now) = (Progress::default(), Instant::now());
        for waited in 0..4 {
            progress.unanswered = Some(now);
            assert_eq!(progress.look(Some(7), Some(7), 2 * SECOND, now), waited * SECOND);
            now += SECOND;
        }
        progress.unanswered = Some(now);
        assert_eq!(progress.look(Some(8), Some(8), 2 * SECOND, now), Duration::ZERO, "the log goes on");
        now += 2 * SECOND;
        let stalled = progress.look(Some(8), Some(8), 2 * SECOND, now);
        assert_eq!(stalled, Duration::ZERO, "no leader speaks any more");
    }
}
