//! Nothing new is stored while every node has less room than its reserve: that is for what makes room (P11).

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::Report;
use crate::history::{Answer, Call, Event, What};
use crate::world::World;

const CHECK: &str = "reserve";
/// How long a shortage may last before the leader must refuse: its next look at the disks (every 250 ms), and a
/// heartbeat for what the other nodes said of theirs.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// When every node that ran was short of room, as it said itself.
#[derive(Default)]
pub(super) struct Shortages {
    since: Option<Duration>,
    over: Vec<(Duration, Duration)>,
}

impl Shortages {
    /// Looks at every node that runs.
    pub(super) fn tick(&mut self, world: &World) {
        let shards: Vec<_> = world.nodes.iter().filter_map(|node| node.shard()).collect();
        let is_short = |room: quorate_storage::Room| room.free_bytes < room.reserve_bytes;
        let all = !shards.is_empty() && shards.iter().all(|shard| is_short(shard.replica.log().room()));
        match (all, self.since) {
            (true, None) => self.since = Some(world.elapsed()),
            (false, Some(since)) => {
                self.over.push((since, world.elapsed()));
                self.since = None;
            }
            _ => {}
        }
    }

    /// Nothing was published from beginning to end within one of those times, once the leader can know of it.
    pub(super) fn check(&self, events: &[Event], report: &mut Report) {
        let mut begun = BTreeMap::new();
        for event in events {
            match &event.what {
                What::Invoke(op, Call::Publish { .. }) => drop(begun.insert(*op, event.at)),
                What::Return(op, Answer::Receipt { duplicate: false, position }) => {
                    let Some(from) = begun.get(op) else { continue };
                    if let Some((since, _)) =
                        self.over.iter().find(|(a, b)| *a + UNDER_WAY < *from && event.at < *b)
                    {
                        let what = format!(
                            "position {position} was stored {} ms after the last node had run short",
                            (*from - *since).as_millis()
                        );
                        report.safety("P11", CHECK, event.at, what);
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{OpId, Who};

    #[test]
    fn only_what_was_begun_and_done_in_a_shortage_counts() {
        let who = Some(Who { client: 0, life: 1, actor: 0 });
        let at = Duration::from_secs;
        let found = |from: u64, to: u64| {
            let call = Call::Publish { session: "s".into(), queue: "q".into(), body: 1, bytes: 16 };
            let receipt = Answer::Receipt { position: 1, duplicate: false };
            let events = [
                Event { at: at(from), who, what: What::Invoke(OpId(1), call) },
                Event { at: at(to), who, what: What::Return(OpId(1), receipt) },
            ];
            let mut report = Report::default();
            Shortages { since: None, over: vec![(at(5), at(9))] }.check(&events, &mut report);
            report.found()
        };
        assert_eq!((found(7, 8), found(6, 7), found(4, 6), found(7, 10), found(1, 2)), (1, 0, 0, 0, 0));
    }
}
