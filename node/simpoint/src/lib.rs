//! Points in the product's code where the simulator looks or interferes.
//!
//! A build of the product has none of this: without the feature `simulation` every function here is a constant or does
//! nothing, and the compiler removes the call with its condition. With it (only `quorate-sim` asks for it) a point
//! asks the [`Probe`] that the running simulation installed on its thread; a thread without one sees a constant too.
//!
//! Kinds of points:
//! * [`buggify`]: behave correctly but oddly here (a batch of one, a dropped reply). The idea is FoundationDB's.
//! * [`planted`]: misbehave on purpose. The harness proves with it that it would notice.
//! * [`applied`]: tell what was applied, so that a checker outside can compare nodes.
//! * [`touched`] and [`spend`]: work takes time there, too. [`Holding`]: memory is accounted for there, by component.
//!
//! The crate knows nothing of the product, so every other crate may depend on it.

mod bug;
mod holding;
#[cfg(feature = "simulation")]
mod probe;

pub use bug::Bug;
pub use holding::{Component, Holding};
#[cfg(feature = "simulation")]
pub use probe::{Probe, Scope, install};

/// An entry that a node has applied.
#[derive(Clone, Copy)]
pub struct Applied<'a> {
    /// Where the node keeps its data; tells nodes apart.
    pub data_dir: &'a std::path::Path,
    /// The shard.
    pub shard: u32,
    /// Term of the leader that proposed it.
    pub term: u64,
    /// Place in the log.
    pub index: u64,
    /// Rows that it has read and written.
    pub rows: u64,
    /// The commands; `None` for an entry that is Raft's own.
    pub entry: Option<&'a [u8]>,
    /// The digest of the state after it.
    pub digest: &'a dyn Fn() -> Option<[u8; 16]>,
}

/// Whether to behave oddly at `site` this time. Sites are named `crate/file/what`, once each.
#[inline(always)]
#[cfg_attr(not(feature = "simulation"), allow(unused_variables))]
pub fn buggify(site: &'static str) -> bool {
    #[cfg(feature = "simulation")]
    return probe::ask(|probe| probe.buggify(site));
    #[cfg(not(feature = "simulation"))]
    false
}

/// Whether this run has the bug planted.
#[inline(always)]
#[cfg_attr(not(feature = "simulation"), allow(unused_variables))]
pub fn planted(bug: Bug) -> bool {
    #[cfg(feature = "simulation")]
    return probe::ask(|probe| probe.planted(bug));
    #[cfg(not(feature = "simulation"))]
    false
}

/// The time of the host that runs this, in milliseconds, for the bugs that read a clock they must not read; 0 elsewhere.
#[inline(always)]
pub fn local_clock_ms() -> u64 {
    #[cfg(feature = "simulation")]
    return probe::look(|probe| probe.local_clock_ms()).unwrap_or_default();
    #[cfg(not(feature = "simulation"))]
    0
}

/// How many rows an entry may touch before it leaves the rest to the next, where that is `production` in production: a run of a simulation may have
/// less, so that entries leave something without there being a million messages.
#[inline(always)]
pub fn entry_rows(production: u64) -> u64 {
    #[cfg(feature = "simulation")]
    return probe::look(|probe| probe.entry_rows()).flatten().unwrap_or(production);
    #[cfg(not(feature = "simulation"))]
    production
}

/// Tells that rows were read or written, and so many bytes encoded, decoded or copied.
#[inline(always)]
#[cfg_attr(not(feature = "simulation"), allow(unused_variables))]
pub fn touched(rows: u64, bytes: usize) {
    #[cfg(feature = "simulation")]
    probe::look(|probe| probe.touched(rows, bytes));
}

/// How many rows were touched on this thread since they were last [spent](spend); 0 elsewhere.
#[inline(always)]
pub fn rows_touched() -> u64 {
    #[cfg(feature = "simulation")]
    return probe::look(|probe| probe.rows_touched()).unwrap_or_default();
    #[cfg(not(feature = "simulation"))]
    0
}

/// What was touched since this was last called has been done by the host that runs this: how long it is to stand still for that, which is
/// not at all where work takes its time by itself.
#[inline(always)]
pub fn spend() -> std::time::Duration {
    #[cfg(feature = "simulation")]
    return probe::look(|probe| probe.spend()).unwrap_or_default();
    #[cfg(not(feature = "simulation"))]
    std::time::Duration::ZERO
}

/// Tells that an entry was applied and can be read.
#[inline(always)]
#[cfg_attr(not(feature = "simulation"), allow(unused_variables))]
pub fn applied(what: Applied<'_>) {
    #[cfg(feature = "simulation")]
    probe::look(|probe| probe.applied(what));
}

#[cfg(all(test, not(feature = "simulation")))]
mod tests {
    use super::*;

    #[test]
    fn a_build_of_the_product_has_no_points() {
        assert!(!buggify("simpoint/lib/any"));
        assert!(Bug::ALL.iter().all(|bug| !planted(*bug)));
        assert_eq!(local_clock_ms(), 0);
        touched(1, 1);
        assert_eq!((rows_touched(), spend()), (0, std::time::Duration::ZERO));
        assert_eq!(size_of::<Holding>(), 0);
    }
}
