//! The time that entries are stamped with.
//!
//! Leases, retries and expiry follow replicated time, so one node with a wrong clock must not move it for all. The rule:
//!
//! * **While one node leads**, time follows its monotonic clock and is drawn towards its wall clock, by a tenth of the
//!   time that passes at most. A jump of the wall clock moves nothing at once, and time never stands still.
//! * **A new leader goes on** from the last stamp that it applied, plus what has passed since then by its own monotonic
//!   clock. Its wall clock decides nothing at that moment. A stamp that got here late counts for no less than the one before it
//!   and nine tenths of the time since, since that much passes at least.
//! * **A process that does not know what time it is** asks its wall clock: if it leads before it has applied a stamp of
//!   the term that is under way, time steps to that clock if the clock is ahead. So a cluster that was down for days, and
//!   one that is new, get their time right with their first leader.
//! * **A leader stamps something** every [`STAMP_AGE_MS_MAX`] at the latest, so that the last stamp says what time it is
//!   to whoever comes next, also where nothing happens.
//!
//! What follows from it:
//!
//! * Nothing expires because a running leader's clock is wrong, or because the next leader's is.
//! * At a change of leaders time falls behind by as much as the last stamp needed to be applied and seen, which is
//!   [`LOOK_INTERVAL`] and what replication takes: a quarter of a second in a cluster that works. So a step to a right clock
//!   later on is no larger, and nothing is due earlier than that.
//! * Where replicated time is wrong, because the first leader after an outage of the whole cluster had a wrong clock, it
//!   takes ten times the error to get right; meanwhile time runs at 90 to 110 % and every deadline is still met by that
//!   time. Clocks that are mended and a restart of all nodes bring it forward at once; nothing ever brings it back.
//! * What is left: a node that was just started and leads within [`STAMP_AGE_MS_MAX`], before it has heard a stamp of
//!   the leader before it, takes time to its own clock if that is ahead.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_machine::read;
use quorate_raft::{Leadership, Replica};
use quorate_simpoint::{Bug, planted};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;

/// A leader lets the last stamp grow no older than this.
pub const STAMP_AGE_MS_MAX: u64 = 10_000;
/// Time is drawn towards the wall clock by one part in so many.
const SLEW: u64 = 10;
/// How often those who do not stamp look at the stamps of the leader.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// What docs/semantics.md promises of the lag at a change of leaders, in a cluster that replicates within the rest of it.
#[cfg(test)]
const LAG_MS_MAX: u64 = 250;
/// A difference between a new leader's clock and replicated time that is worth a word.
const DIFFERENCE_TOLD_MS: u64 = 5_000;

/// The time of a shard, as this node would stamp it.
pub struct LeaderTime {
    replica: Replica,
    clock: Arc<dyn Clock>,
    leadership: watch::Receiver<Leadership>,
    /// From here on monotonic time is counted.
    begun: Instant,
    reckoning: Mutex<Reckoning>,
}

impl LeaderTime {
    /// The time of the replica's shard.
    pub fn new(replica: Replica, clock: Arc<dyn Clock>) -> Self {
        let leadership = replica.leadership();
        let reckoning = Mutex::new(Reckoning::default());
        Self { replica, clock, leadership, begun: Instant::now(), reckoning }
    }

    /// Milliseconds since 1970 by replicated time, if an entry were applied now.
    pub fn now_ms(&self) -> u64 {
        let wall_ms = self.clock.now_ms();
        if planted(Bug::TimeGoesBack) {
            return wall_ms;
        }
        let at = self.begun.elapsed();
        let leadership = self.leadership.borrow().clone();
        let seen = self.seen();
        let mut reckoning = self.reckoning.lock();
        reckoning.see(seen, leadership.term, at);
        let before = reckoning.led_term();
        let now_ms = reckoning.now_ms(leadership.mine.then_some(leadership.term), wall_ms, at);
        if before != reckoning.led_term() && leadership.mine && now_ms.abs_diff(wall_ms) > DIFFERENCE_TOLD_MS
        {
            tracing::warn!(
                now_ms,
                wall_ms,
                "the clock of this leader and the time of the entries differ; look at the nodes' clocks"
            );
        }
        now_ms
    }

    /// The latest stamp that was applied here; 0 if there was none.
    pub fn last_stamp_ms(&self) -> u64 {
        self.seen().stamp_ms
    }

    /// Keeps up with the stamps of whoever leads, as long as the node runs.
    pub async fn follow(&self) {
        loop {
            let seen = self.seen();
            let term = self.leadership.borrow().term;
            self.reckoning.lock().see(seen, term, self.begun.elapsed());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn seen(&self) -> Seen {
        let state = self.replica.state().read();
        // A state that cannot be read any more is about to end the node; no stamp is older than none.
        let stamp_ms = read::now_ms(&state).unwrap_or_default();
        Seen { stamp_ms, term: state.applied().last.map_or(0, |id| id.term) }
    }
}

/// What a replica has applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// The latest stamp.
    stamp_ms: u64,
    /// The term of the last entry.
    term: u64,
}

/// The rule, without a clock.
#[derive(Debug, Default)]
struct Reckoning {
    /// The latest stamp that was applied, and when it was seen first.
    stamp_ms: u64,
    seen_at: Duration,
    /// What time it was at least, and when.
    least_us: u64,
    least_at: Duration,
    /// The latest term of which an entry was applied, and the latest stamp when that was seen first: a later stamp is
    /// one of that term.
    term: u64,
    stamp_before_ms: u64,
    /// Whether a stamp was applied of a term that was under way: this process knows what time it is.
    knows: bool,
    leading: Option<Leading>,
}

/// A leader's time.
#[derive(Debug)]
struct Leading {
    term: u64,
    now_us: u64,
    at: Duration,
}

impl Reckoning {
    /// Takes in what was applied, in the term that is under way.
    fn see(&mut self, seen: Seen, term: u64, at: Duration) {
        if seen.stamp_ms > self.stamp_ms {
            self.least_us = self.at_least_us(at).max(seen.stamp_ms.saturating_mul(1000));
            self.least_at = at;
            self.stamp_ms = seen.stamp_ms;
            self.seen_at = at;
        }
        if seen.term > self.term {
            self.term = seen.term;
            self.stamp_before_ms = seen.stamp_ms;
        } else if seen.term == term && seen.stamp_ms > self.stamp_before_ms {
            self.knows = true;
        }
    }

    /// The time, for a leader in this term or for somebody who does not lead.
    fn now_ms(&mut self, leads_in: Option<u64>, wall_ms: u64, at: Duration) -> u64 {
        let wall_us = wall_ms.saturating_mul(1000);
        let reckoned_us = self.reckoned_us(at);
        let Some(term) = leads_in else {
            self.leading = None;
            return reckoned_us / 1000;
        };
        let leading = match self.leading.take().filter(|leading| leading.term == term) {
            Some(leading) => leading.at_later(wall_us, at),
            None if self.knows => Leading { term, now_us: reckoned_us, at },
            None => Leading { term, now_us: reckoned_us.max(wall_us), at },
        };
        // What a leader before this one has stamped, and was not applied here when this one began, counts all the same.
        let now_us = leading.now_us.max(self.stamp_ms.saturating_mul(1000));
        self.leading = Some(Leading { now_us, ..leading });
        now_us / 1000
    }

    /// What time it is by the last stamp.
    fn reckoned_us(&self, at: Duration) -> u64 {
        let passed = micros(at.saturating_sub(self.seen_at));
        self.stamp_ms.saturating_mul(1000).saturating_add(passed).max(self.at_least_us(at))
    }

    /// What time it is by the stamp that got here the fastest, if whoever leads is drawn back all the time.
    fn at_least_us(&self, at: Duration) -> u64 {
        let passed = micros(at.saturating_sub(self.least_at));
        self.least_us.saturating_add(passed - passed / SLEW)
    }

    fn led_term(&self) -> Option<u64> {
        self.leading.as_ref().map(|leading| leading.term)
    }
}

impl Leading {
    fn at_later(self, wall_us: u64, at: Duration) -> Self {
        let passed = micros(at.saturating_sub(self.at));
        if passed < 1000 {
            return self; // what is shorter counts later, so that calls in a row are drawn as far as one
        }
        let steady = self.now_us.saturating_add(passed);
        let most = passed / SLEW;
        let now_us = wall_us.clamp(steady.saturating_sub(most), steady.saturating_add(most));
        Self { now_us, at, ..self }
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;
    /// Some time in the past of the cluster.
    const THEN: u64 = 1_700_000_000_000;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A process that has followed, in term 1, a leader that stamped `THEN` ten seconds after the process began.
    fn follower() -> Reckoning {
        let mut reckoning = Reckoning::default();
        reckoning.see(Seen { stamp_ms: THEN - 10_000, term: 1 }, 1, s(0));
        reckoning.see(Seen { stamp_ms: THEN, term: 1 }, 1, s(10));
        reckoning
    }

    #[test]
    fn a_new_leader_goes_on_whatever_its_clock_says() {
        for wall_ms in [0, THEN - DAY, THEN, THEN + HOUR, u64::MAX] {
            let mut reckoning = follower();
            assert_eq!(reckoning.now_ms(Some(2), wall_ms, s(13)), THEN + 3000, "the gap has passed, too");
        }
    }

    #[test]
    fn a_running_leader_is_drawn_to_its_clock_and_never_jumps_or_stands_still() {
        let run = |wall_ms: &dyn Fn(u64) -> u64| {
            let mut reckoning = follower();
            reckoning.now_ms(Some(2), wall_ms(0), s(10));
            let mut now = THEN;
            for tick in 1..=10_000 {
                let at = s(10) + Duration::from_millis(tick * 10);
                let next = reckoning.now_ms(Some(2), wall_ms(tick * 10), at);
                assert!((9..=11).contains(&(next - now)), "{now} to {next}");
                now = next;
            }
            now - THEN
        };
        assert_eq!(run(&|passed| THEN + passed), 100_000);
        assert_eq!(run(&|passed| THEN + passed + HOUR), 110_000);
        assert_eq!(run(&|_| 0), 90_000);
        assert_eq!(run(&|passed| THEN + passed + 2000), 102_000, "it gets there and stays");
        let there_and_back = |passed: u64| if passed < 50_000 { THEN + DAY } else { THEN + passed };
        assert!(run(&there_and_back).abs_diff(100_000) <= 10);
    }

    #[test]
    fn calls_in_a_row_are_drawn_as_far_as_one() {
        let mut reckoning = follower();
        reckoning.now_ms(Some(2), THEN + HOUR, s(10));
        for micros in 1..=1_000_000 {
            reckoning.now_ms(Some(2), THEN + HOUR, s(10) + Duration::from_micros(micros));
        }
        assert_eq!(reckoning.now_ms(Some(2), THEN + HOUR, s(11)), THEN + 1100);
    }

    #[test]
    fn the_first_leader_after_an_outage_or_of_a_new_cluster_takes_its_clock() {
        let mut reckoning = Reckoning::default();
        assert_eq!(reckoning.now_ms(Some(1), THEN, s(1)), THEN);
        // Entries of before the outage are applied when the new leader's first is: they say nothing.
        let mut reckoning = Reckoning::default();
        reckoning.see(Seen { stamp_ms: THEN - 1000, term: 4 }, 5, s(0));
        reckoning.see(Seen { stamp_ms: THEN, term: 4 }, 6, s(1));
        reckoning.see(Seen { stamp_ms: THEN, term: 6 }, 6, s(2));
        assert_eq!(reckoning.now_ms(Some(6), THEN + 3 * DAY, s(2)), THEN + 3 * DAY);
        // A clock that is behind is not followed: replicated time does not go back.
        let mut reckoning = Reckoning::default();
        reckoning.see(Seen { stamp_ms: THEN, term: 4 }, 5, s(0));
        assert_eq!(reckoning.now_ms(Some(5), THEN - DAY, s(2)), THEN + 2000);
    }

    #[test]
    fn who_has_led_and_leads_again_does_not_ask_its_clock_again() {
        let mut reckoning = Reckoning::default();
        reckoning.see(Seen { stamp_ms: 0, term: 1 }, 1, s(0));
        assert_eq!(reckoning.now_ms(Some(1), THEN, s(1)), THEN);
        reckoning.see(Seen { stamp_ms: THEN, term: 1 }, 1, s(1));
        assert_eq!(reckoning.now_ms(None, THEN + DAY, s(2)), THEN + 1000);
        assert_eq!(reckoning.now_ms(Some(3), THEN + DAY, s(4)), THEN + 3000);
    }

    #[test]
    fn a_later_stamp_that_is_applied_late_counts() {
        let mut reckoning = follower();
        assert_eq!(reckoning.now_ms(Some(2), THEN, s(10)), THEN);
        reckoning.see(Seen { stamp_ms: THEN + 5000, term: 1 }, 2, s(11));
        assert_eq!(reckoning.now_ms(Some(2), THEN, s(11)), THEN + 5000);
        assert_eq!(reckoning.now_ms(Some(2), THEN, s(12)), THEN + 5900);
    }

    /// A leader whose time runs at `percent`, stamps now and then, and falls silent; a follower whom the stamps reach late, who looks
    /// at them every [`LOOK_INTERVAL`], and leads after it. How far its time is ahead of the former leader's, and how
    /// much had passed since the last stamp, in milliseconds.
    fn change_of_leaders(percent: u64, draw: &mut impl FnMut(u64) -> u64) -> (i64, u64) {
        let by_leader = |at_ms: u64| THEN + at_ms * percent / 100;
        let late_ms = 200;
        let mut stamps = Vec::new();
        let (mut at_ms, silent_ms) = (0, 20_000 + draw(20_000));
        while at_ms < silent_ms {
            stamps.push((at_ms, at_ms + draw(late_ms)));
            let longest_ms = if draw(2) == 0 { 50 } else { STAMP_AGE_MS_MAX };
            at_ms += 1 + draw(longest_ms);
        }
        let last_ms = stamps.last().unwrap().0;
        let mut reckoning = Reckoning::default();
        let now_ms = silent_ms + late_ms + 1200 + draw(400);
        for look_ms in (0..now_ms).step_by(usize::try_from(LOOK_INTERVAL.as_millis()).unwrap()) {
            let applied = stamps.iter().filter(|(_, applied_ms)| *applied_ms <= look_ms);
            let stamp_ms = applied.map(|(at_ms, _)| by_leader(*at_ms)).max().unwrap_or_default();
            reckoning.see(Seen { stamp_ms, term: 1 }, 1, Duration::from_millis(look_ms));
        }
        let found = reckoning.now_ms(Some(2), by_leader(now_ms), Duration::from_millis(now_ms));
        (found as i64 - by_leader(now_ms) as i64, now_ms - last_ms)
    }

    #[test]
    fn a_change_of_leaders_sets_time_back_by_a_quarter_of_a_second_at_most() {
        let mut state = 7u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut worst = 0;
        for _ in 0..300 {
            let (ahead, _) = change_of_leaders(100, &mut draw);
            assert!((-(LAG_MS_MAX as i64)..=0).contains(&ahead), "{ahead}");
            worst = worst.min(ahead);
            for percent in [90, 110] {
                let (ahead, since_last) = change_of_leaders(percent, &mut draw);
                let drawn = (since_last / SLEW + 1) as i64;
                assert!(
                    (-drawn - LAG_MS_MAX as i64..=drawn).contains(&ahead),
                    "{percent}: {ahead} of {drawn}"
                );
            }
        }
        assert!(worst < -100, "the worst case is met: {worst}");
    }

    #[test]
    fn a_stamp_that_gets_here_late_does_not_set_time_back() {
        let mut reckoning = follower();
        // Made after a second, applied after five: its leader was cut off, and somebody else led in between.
        reckoning.see(Seen { stamp_ms: THEN + 1000, term: 1 }, 1, s(15));
        assert_eq!(reckoning.now_ms(Some(2), THEN, s(15)), THEN + 4500);
    }

    #[test]
    fn absurd_figures_do_no_harm() {
        let mut reckoning = Reckoning::default();
        reckoning.see(Seen { stamp_ms: u64::MAX, term: u64::MAX }, 0, s(5));
        reckoning.now_ms(Some(1), u64::MAX, s(1));
        reckoning.now_ms(Some(1), 0, Duration::MAX);
        reckoning.now_ms(None, 0, s(0));
    }
}
