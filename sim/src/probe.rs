//! What answers at the points in the product's code while a simulation runs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use quorate_simpoint::{Applied, Bug, Probe};

use crate::seed::Rng;

/// Share of the sites that are odd in a run, and how often such a site then is.
const ON_PERCENT: u64 = 25;

/// Where something was applied: the node and its life, read off the place of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) node: usize,
    pub(crate) life: u32,
}

type OnApplied = Box<dyn Fn(Origin, &Applied<'_>)>;

/// A site of `buggify!` in this run.
struct Site {
    percent: u64,
    rng: Rng,
    fired: u64,
}

/// Answers from the seed.
pub(crate) struct Points {
    seed: u64,
    odd: Cell<bool>,
    bug: Option<Bug>,
    sites: RefCell<BTreeMap<&'static str, Site>>,
    planted: Cell<u64>,
    clock_ms: Box<dyn Fn() -> u64>,
    on_applied: OnApplied,
}

impl Points {
    /// `odd` turns the sites on; `bug` is planted.
    pub(crate) fn new(
        seed: u64,
        odd: bool,
        bug: Option<Bug>,
        clock_ms: impl Fn() -> u64 + 'static,
        on_applied: impl Fn(Origin, &Applied<'_>) + 'static,
    ) -> Rc<Self> {
        Rc::new(Points {
            seed,
            odd: Cell::new(odd),
            bug,
            sites: RefCell::default(),
            planted: Cell::new(0),
            clock_ms: Box::new(clock_ms),
            on_applied: Box::new(on_applied),
        })
    }

    /// From now on every site behaves as it does in production.
    pub(crate) fn calm(&self) {
        self.odd.set(false);
    }

    /// How often each site was odd.
    pub(crate) fn fired(&self) -> BTreeMap<String, u64> {
        let sites = self.sites.borrow();
        sites
            .iter()
            .filter(|(_, site)| site.fired > 0)
            .map(|(name, site)| ((*name).into(), site.fired))
            .collect()
    }

    /// How often the planted bug had its way.
    pub(crate) fn planted_hits(&self) -> u64 {
        self.planted.get()
    }
}

impl Probe for Points {
    fn buggify(&self, name: &'static str) -> bool {
        if !self.odd.get() {
            return false;
        }
        let mut sites = self.sites.borrow_mut();
        let site = sites.entry(name).or_insert_with(|| {
            let mut rng = Rng::new(self.seed, name);
            let percent = if rng.percent(ON_PERCENT) { *rng.pick(&[1, 5, 25, 25, 60]) } else { 0 };
            Site { percent, rng, fired: 0 }
        });
        let fires = site.rng.percent(site.percent);
        site.fired += u64::from(fires);
        fires
    }

    fn planted(&self, bug: Bug) -> bool {
        let is_planted = self.bug == Some(bug);
        self.planted.set(self.planted.get() + u64::from(is_planted));
        is_planted
    }

    fn local_clock_ms(&self) -> u64 {
        (self.clock_ms)()
    }

    fn applied(&self, what: Applied<'_>) {
        if let Some(origin) = origin(what.data_dir) {
            (self.on_applied)(origin, &what);
        }
    }
}

/// `…/n2/3` is the third life of the second node.
fn origin(data_dir: &std::path::Path) -> Option<Origin> {
    let life = data_dir.file_name()?.to_str()?.parse().ok()?;
    let node: usize = data_dir.parent()?.file_name()?.to_str()?.strip_prefix('n')?.parse().ok()?;
    Some(Origin { node: node.checked_sub(1)?, life })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_off_the_path() {
        let read = |path: &str| origin(std::path::Path::new(path));
        assert_eq!(read("/x/n2/3"), Some(Origin { node: 1, life: 3 }));
        assert_eq!(read("/x/n0/3"), None);
        assert_eq!(read("/x/y/3"), None);
    }

    #[test]
    fn sites_are_odd_by_the_seed_and_calm_when_told() {
        let draw = |seed| {
            let points = Points::new(seed, true, None, || 0, |_, _| {});
            let of = |name| (0..200).filter(|_| points.buggify(name)).count();
            (of("a/b/c"), of("d/e/f"))
        };
        assert_eq!(draw(3), draw(3));
        assert!((0..50).any(|seed| draw(seed) != (0, 0)), "some seeds are odd");
        assert!((0..50).any(|seed| draw(seed).0 == 0), "most sites are not");
        let points = Points::new(3, true, Some(Bug::AckBeforeSync), || 7, |_, _| {});
        points.calm();
        assert!((0..50).all(|_| !points.buggify("a/b/c")));
        assert!(points.planted(Bug::AckBeforeSync));
        assert_eq!(points.planted_hits(), 1);
    }
}
