//! Who answers at the points: one probe per thread, since a simulation has one thread.

use std::cell::RefCell;
use std::rc::Rc;

use crate::{Applied, Bug};

/// Answers at the points of the code.
pub trait Probe {
    /// See [`crate::buggify`].
    fn buggify(&self, site: &'static str) -> bool;

    /// See [`crate::planted`].
    fn planted(&self, bug: Bug) -> bool;

    /// See [`crate::local_clock_ms`].
    fn local_clock_ms(&self) -> u64;

    /// See [`crate::applied()`].
    fn applied(&self, what: Applied<'_>);
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
    let probe = PROBE.with_borrow(Clone::clone)?;
    Some(question(&*probe))
}

pub(crate) fn ask(question: impl FnOnce(&dyn Probe) -> bool) -> bool {
    look(question).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Only;

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
    }

    #[test]
    fn the_probe_answers_until_its_scope_ends() {
        let scope = install(Rc::new(Only));
        assert!(crate::buggify("simpoint/probe/this") && !crate::buggify("simpoint/probe/that"));
        assert!(crate::planted(Bug::TimeGoesBack) && !crate::planted(Bug::DedupIgnored));
        assert_eq!(crate::local_clock_ms(), 7);
        drop(scope);
        assert!(!crate::buggify("simpoint/probe/this") && !crate::planted(Bug::TimeGoesBack));
        assert_eq!(crate::local_clock_ms(), 0);
    }
}
