//! What a connection attempt meets.
//!
//! Turmoil answers an attempt with a refusal as soon as its first segment is lost, for whatever reason. On a real
//! network only a live host without that listener refuses; silence stays silence, and the segment is sent again. The
//! difference matters: a follower replaces a leader at once whose port refuses, and waits for one that is silent.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

/// Between two attempts at a connection that nothing answers, as TCP does at first.
pub(super) const RESEND: std::time::Duration = std::time::Duration::from_secs(1);

/// Which host can be reached from where, and who listens.
#[derive(Debug, Default)]
pub(crate) struct Reach(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// From, to.
    cut: BTreeSet<(usize, usize)>,
    /// A firewall answers in the host's place.
    rejected: BTreeMap<(usize, usize), u32>,
    /// Host, port.
    listening: BTreeSet<(usize, u16)>,
}

impl Reach {
    pub(super) fn set_cut(&self, from: usize, to: usize, cut: bool) {
        let mut state = self.0.lock();
        if cut {
            state.cut.insert((from, to));
        } else {
            state.cut.remove(&(from, to));
        }
    }

    pub(super) fn set_rejected(&self, from: usize, to: usize, rejected: bool) {
        let mut state = self.0.lock();
        let count = state.rejected.entry((from, to)).or_default();
        *count = if rejected { *count + 1 } else { count.saturating_sub(1) };
    }

    pub(super) fn set_listening(&self, host: usize, port: u16, listening: bool) {
        let mut state = self.0.lock();
        if listening {
            state.listening.insert((host, port));
        } else {
            state.listening.remove(&(host, port));
        }
    }

    /// Whether an attempt that was not accepted was really refused.
    pub(super) fn refuses(&self, from: usize, to: usize, port: u16) -> bool {
        let state = self.0.lock();
        if state.rejected.get(&(from, to)).is_some_and(|count| *count > 0) {
            return true;
        }
        let silent = state.cut.contains(&(from, to)) || state.cut.contains(&(to, from));
        !silent && !state.listening.contains(&(to, port))
    }
}

#[cfg(test)]
mod tests {
    use super::Reach;

    #[test]
    fn only_a_reachable_host_without_a_listener_refuses() {
        let reach = Reach::default();
        assert!(reach.refuses(0, 1, 7400));
        reach.set_listening(1, 7400, true);
        assert!(!reach.refuses(0, 1, 7400), "its first segment was lost");
        assert!(reach.refuses(0, 1, 7401));
        reach.set_listening(1, 7400, false);
        for (from, to) in [(0, 1), (1, 0)] {
            reach.set_cut(from, to, true);
            assert!(!reach.refuses(0, 1, 7400));
            reach.set_cut(from, to, false);
        }
        assert!(reach.refuses(0, 1, 7400));
        reach.set_listening(1, 7400, true);
        reach.set_cut(0, 1, true);
        reach.set_rejected(0, 1, true);
        assert!(reach.refuses(0, 1, 7400) && !reach.refuses(1, 0, 7400));
    }
}
