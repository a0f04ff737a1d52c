//! Who answers at the points: one probe per thread, since a simulation has one thread.

use std::cell::RefCell;
use std::rc::Rc;

use crate::{Applied, Bug, Component};

/// Answers at the points of the code.
pub trait Probe {
    /// See [`crate::buggify`].
    fn buggify(&self, site: &'static str) -> bool;

    /// See [`crate::planted`].
    fn planted(&self, bug: Bug) -> bool;

    /// See [`crate::local_clock_ms`].
    fn local_clock_ms(&self) -> u64;

    /// See [`crate::entry_rows`]; the same for as long as the simulation runs.
    fn entry_rows(&self) -> Option<u64> {
        None
    }

    /// See [`crate::applied()`].
    fn applied(&self, what: Applied<'_>);

    /// See [`crate::touched`].
    fn touched(&self, rows: u64, bytes: usize);

    /// See [`crate::rows_touched`].
    fn rows_touched(&self) -> u64;

    /// See [`crate::spend`].
    fn spend(&self) -> std::time::Duration;

    /// A component of the host that runs this holds more bytes: see [`crate::Holding`]. Returns which host that is.
    fn holds(&self, component: Component, bytes: u64) -> u64;

    /// It lets go of them.
    fn lets_go(&self, component: Component, host: u64, bytes: u64);
}

thread_local! {
    static PROBE: RefCell<Option<Rc<dyn Probe>>> = const { RefCell::new(None) };
}

/// Removes the probe again when it is dropped.
#[derive(Debug)]
pub struct Scope(());

impl Drop for Scope {
    fn drop(&mut self) {
        PROBE.with_borrow_mut(|slot| *slot = None);
    }
}

/// Lets `probe` answer on this thread until the scope is dropped.
pub fn install(probe: Rc<dyn Probe>) -> Scope {
    PROBE.with_borrow_mut(|slot| *slot = Some(probe));
    Scope(())
}

pub(crate) fn look<T>(question: impl FnOnce(&dyn Probe) -> T) -> Option<T> {
    // What is dropped with the thread asks nobody any more.
    let probe = PROBE.try_with(|slot| slot.borrow().clone()).ok().flatten()?;
    Some(question(&*probe))
}

pub(crate) fn ask(question: impl FnOnce(&dyn Probe) -> bool) -> bool {
    look(question).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Only(Cell<u64>);

    impl Probe for Only {
        fn buggify(&self, site: &'static str) -> bool {
            site == "simpoint/probe/this"
        }

        fn planted(&self, bug: Bug) -> bool {
            bug == Bug::TimeGoesBack
        }

        fn local_clock_ms(&self) -> u64 {
            7
        }

        fn applied(&self, _: Applied<'_>) {}

        fn touched(&self, rows: u64, _: usize) {
            self.0.set(self.0.get() + rows);
        }

        fn rows_touched(&self) -> u64 {
            self.0.get()
        }

        fn spend(&self) -> Duration {
            Duration::from_secs(self.0.take())
        }

        fn holds(&self, _: Component, bytes: u64) -> u64 {
            self.0.set(self.0.get() + bytes);
            3
        }

        fn lets_go(&self, component: Component, host: u64, bytes: u64) {
            assert_eq!((component, host), (Component::Outbox, 3));
            self.0.set(self.0.get() - bytes);
        }
    }

    #[test]
    fn work_is_spent_once_and_what_is_held_is_let_go() {
        let scope = install(Rc::new(Only::default()));
        crate::touched(2, 9);
        crate::touched(3, 0);
        assert_eq!(
            (crate::rows_touched(), crate::spend(), crate::spend()),
            (5, Duration::from_secs(5), Duration::ZERO)
        );
        let held = crate::Holding::new(Component::Outbox, 7);
        let more = crate::Holding::new(Component::Outbox, 1);
        drop(held);
        assert_eq!(crate::rows_touched(), 1);
        drop(more);
        assert_eq!(crate::rows_touched(), 0);
        drop(scope);
        drop(crate::Holding::new(Component::Outbox, 7));
    }

    #[test]
    fn the_probe_answers_until_its_scope_ends() {
        let scope = install(Rc::new(Only::default()));
        assert!(crate::buggify("simpoint/probe/this") && !crate::buggify("simpoint/probe/that"));
        assert!(crate::planted(Bug::TimeGoesBack) && !crate::planted(Bug::DedupIgnored));
        assert_eq!(crate::local_clock_ms(), 7);
        drop(scope);
        assert!(!crate::buggify("simpoint/probe/this") && !crate::planted(Bug::TimeGoesBack));
        assert_eq!(crate::local_clock_ms(), 0);
    }
}
