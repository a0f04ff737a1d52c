//! What answers at the points in the product's code while a simulation runs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use std::time::Duration;

use quorate_simpoint::{Applied, Bug, Component, Probe};

use crate::seed::Rng;

/// What a row that is read or written costs: lookups in a tree, a checksum, a copy. A million messages that fall due together take some
/// 3.5 s of a core, at about two rows each.
const ROW_COST: Duration = Duration::from_micros(2);
/// What a thousand bytes cost that are encoded, decoded, hashed and copied.
const KILOBYTE_COST: Duration = Duration::from_nanos(1500);

/// Share of the sites that are odd in a run, and how often such a site then is.
const ON_PERCENT: u64 = 25;

/// Where something was applied: the node and its life, read off the place of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) node: usize,
    pub(crate) life: u32,
}

type OnApplied = Box<dyn Fn(Origin, &Applied<'_>)>;

/// Which host runs what asks: nodes first, then clients. `None` outside of all of them.
type Here = Box<dyn Fn() -> Option<usize>>;

/// What a component of a host holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Now, in bytes.
    pub(crate) now: u64,
    /// At most, since it was last looked at.
    pub(crate) most: u64,
    /// The largest single piece that there was.
    pub(crate) single: u64,
}

/// Work that was done, and what the components hold.
#[derive(Default)]
struct Costs {
    here: RefCell<Option<Here>>,
    rows: Cell<u64>,
    bytes: Cell<u64>,
    /// What a host has not stood still for yet, by its number.
    owed: RefCell<BTreeMap<usize, Duration>>,
    held: RefCell<BTreeMap<(usize, Component), Held>>,
}

impl Costs {
    fn here(&self) -> Option<usize> {
        self.here.borrow().as_ref().and_then(|here| here())
    }
}

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
    bugs: Vec<Bug>,
    sites: RefCell<BTreeMap<&'static str, Site>>,
    planted: Cell<u64>,
    clock_ms: Box<dyn Fn() -> u64>,
    on_applied: OnApplied,
    costs: Costs,
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
        Self::with_bugs(seed, odd, bug.into_iter().collect(), clock_ms, on_applied)
    }

    /// The same with several bugs at once.
    pub(crate) fn with_bugs(
        seed: u64,
        odd: bool,
        bugs: Vec<Bug>,
        clock_ms: impl Fn() -> u64 + 'static,
        on_applied: impl Fn(Origin, &Applied<'_>) + 'static,
    ) -> Rc<Self> {
        Rc::new(Points {
            seed,
            odd: Cell::new(odd),
            bugs,
            sites: RefCell::default(),
            planted: Cell::new(0),
            clock_ms: Box::new(clock_ms),
            on_applied: Box::new(on_applied),
            costs: Costs::default(),
        })
    }

    /// Lets work take time and accounts for memory, by host.
    pub(crate) fn know_hosts(&self, here: impl Fn() -> Option<usize> + 'static) {
        *self.costs.here.borrow_mut() = Some(Box::new(here));
    }

    /// What each component of each host holds; from now on the most is counted anew.
    pub(crate) fn look_at_held(&self, mut look: impl FnMut(usize, Component, Held)) {
        for ((host, component), held) in &mut *self.costs.held.borrow_mut() {
            look(*host, *component, *held);
            held.most = held.now;
        }
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
        let is_planted = self.bugs.contains(&bug);
        self.planted.set(self.planted.get() + u64::from(is_planted));
        is_planted
    }

    fn local_clock_ms(&self) -> u64 {
        (self.clock_ms)()
    }

    /// Two runs in three have little room in an entry, whatever happens in them: every node has to leave the same.
    fn entry_rows(&self) -> Option<u64> {
        let mut rng = Rng::new(self.seed, "machine/entry_rows");
        (!rng.percent(33)).then(|| *rng.pick(&[30, 100, 300, 4000]))
    }

    fn applied(&self, what: Applied<'_>) {
        if let Some(origin) = origin(what.data_dir) {
            (self.on_applied)(origin, &what);
        }
    }

    fn touched(&self, rows: u64, bytes: usize) {
        self.costs.rows.set(self.costs.rows.get() + rows);
        self.costs.bytes.set(self.costs.bytes.get() + bytes as u64);
    }

    fn rows_touched(&self) -> u64 {
        self.costs.rows.get()
    }

    fn spend(&self) -> Duration {
        let (rows, bytes) = (self.costs.rows.take(), self.costs.bytes.take());
        let Some(here) = self.costs.here() else { return Duration::ZERO };
        let cost = ROW_COST * u32::try_from(rows).unwrap_or(u32::MAX)
            + KILOBYTE_COST * u32::try_from(bytes / 1000).unwrap_or(u32::MAX);
        let mut owed = self.costs.owed.borrow_mut();
        let owed = owed.entry(here).or_default();
        *owed += cost;
        // Timers are no finer than that; the rest is spent another time.
        let spent = Duration::from_millis(owed.as_millis() as u64);
        *owed -= spent;
        spent
    }

    fn holds(&self, component: Component, bytes: u64) -> u64 {
        let Some(here) = self.costs.here() else { return u64::MAX };
        let mut all = self.costs.held.borrow_mut();
        let held = all.entry((here, component)).or_default();
        held.now += bytes;
        held.most = held.most.max(held.now);
        held.single = held.single.max(bytes);
        here as u64
    }

    fn lets_go(&self, component: Component, host: u64, bytes: u64) {
        let mut all = self.costs.held.borrow_mut();
        if let Some(held) = all.get_mut(&(host as usize, component)) {
            held.now -= bytes;
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
    fn work_takes_the_time_of_the_host_that_does_it() {
        let points = Points::new(3, false, None, || 0, |_, _| {});
        points.touched(100_000, 0);
        assert_eq!(points.spend(), Duration::ZERO, "outside of all hosts");
        let host = Rc::new(Cell::new(1));
        let here = Rc::clone(&host);
        points.know_hosts(move || Some(here.get()));
        points.touched(100_000, 0);
        assert_eq!((points.rows_touched(), points.spend()), (100_000, Duration::from_millis(200)));
        assert_eq!((points.rows_touched(), points.spend()), (0, Duration::ZERO));
        points.touched(400, 0);
        assert_eq!(points.spend(), Duration::ZERO);
        host.set(2);
        points.touched(400, 0);
        assert_eq!(points.spend(), Duration::ZERO, "what another owes is another's");
        points.touched(0, 100_000_000);
        assert_eq!(points.spend(), Duration::from_millis(150));
    }

    #[test]
    fn what_is_held_is_known_by_host_and_component() {
        let points = Points::new(3, false, None, || 0, |_, _| {});
        points.know_hosts(|| Some(4));
        assert_eq!((points.holds(Component::Waiting, 70), points.holds(Component::Waiting, 20)), (4, 4));
        points.lets_go(Component::Waiting, 4, 70);
        let look = || {
            let mut seen = Vec::new();
            points.look_at_held(|host, component, held| seen.push((host, component, held)));
            seen
        };
        assert_eq!(look(), [(4, Component::Waiting, Held { now: 20, most: 90, single: 70 })]);
        assert_eq!(look(), [(4, Component::Waiting, Held { now: 20, most: 20, single: 70 })]);
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
