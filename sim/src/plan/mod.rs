//! What a run is made of and what goes wrong in it: all of it follows from the seed, and every part from a stream of its
//! own, so that one more choice in one place changes none elsewhere.

mod draw;
mod fault;
#[cfg(test)]
mod tests;

pub use fault::Kind;

pub(crate) use fault::{ClockFault, Damage, Fault, Scheduled, Shape, Victim, Whom};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::seed::Rng;
use crate::world::{DiskSpeed, Latency, WorldOptions};

/// A clock is never off by more than this.
pub(crate) const CLOCK_OFF_MS_MAX: u64 = 3_600_000;
/// Clocks that nobody tampers with are off by this much at most.
const CLOCK_APART_MS_MAX: u64 = 500;
/// Before any fault, so that clients have found the cluster.
const LEAD_IN: Duration = Duration::from_millis(500);
/// Faults of a kind are at most this far apart on average.
const EVERY_MS_MAX: u64 = 16_000;
/// The same where somebody has asked for them.
const EVERY_MS_OFTEN: u64 = 3000;
/// A disk hangs for this long at most.
const LONGEST_HANG_MS: u64 = 120_000;
const MIB: u64 = 1 << 20;

/// Everything that a run's environment does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How long faults happen.
    pub(crate) duration: Duration,
    pub(crate) nodes: usize,
    pub(crate) raft: quorate_raft::Settings,
    pub(crate) latency: Latency,
    pub(crate) disk: DiskSpeed,
    pub(crate) map_bytes_max: u64,
    /// Nodes whose disks give room only for what is written.
    pub(crate) thin_disks: Vec<usize>,
    /// What a node admits of requests that have no answer.
    pub(crate) unanswered_bytes_max: u64,
    /// Whether nodes set aside what they cannot use and come back as new members.
    pub(crate) rejoin: bool,
    /// By how much each node's clock is off from the start, in milliseconds.
    pub(crate) clocks_off_ms: Vec<i64>,
    /// The kinds of faults that are on.
    pub(crate) kinds: BTreeSet<Kind>,
    /// The only nodes that may be damaged: always a minority, so that what was promised is still somewhere.
    pub(crate) damageable: Vec<usize>,
    /// In the order of their beginnings.
    pub(crate) faults: Vec<Scheduled>,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn from_seed(seed: u64, seconds: u64) -> Plan {
        let duration = Duration::from_secs(seconds);
        let nodes = nodes(&mut Rng::new(seed, "plan/nodes"));
        let mut rng = Rng::new(seed, "plan/clocks");
        let clocks_off_ms = (0..nodes).map(|_| off_ms(&mut rng)).collect();
        let kinds = together(seed, nodes, kinds(&mut Rng::new(seed, "plan/kinds")));
        let damageable = damageable(&mut Rng::new(seed, "plan/damageable"), nodes);
        let mut plan = Plan {
            seed,
            duration,
            nodes,
            raft: raft(&mut Rng::new(seed, "plan/raft")),
            latency: latency(&mut Rng::new(seed, "plan/latency")),
            disk: disk(&mut Rng::new(seed, "plan/disk")),
            map_bytes_max: map_bytes_max(&mut Rng::new(seed, "plan/map")),
            thin_disks: thin_disks(&mut Rng::new(seed, "plan/thin"), nodes),
            unanswered_bytes_max: unanswered_bytes_max(&mut Rng::new(seed, "plan/admission")),
            rejoin: nodes > 1 && Rng::new(seed, "plan/rejoin").percent(50),
            clocks_off_ms,
            kinds,
            damageable,
            faults: Vec::new(),
        };
        plan.draw_faults(EVERY_MS_MAX);
        plan
    }

    /// A plan for so many nodes, healthy but for faults of these kinds.
    pub(crate) fn of_kinds(seed: u64, nodes: usize, kinds: &[Kind], duration: Duration) -> Plan {
        let healthy = quorate_raft::Settings::default();
        let mut plan = Plan {
            seed,
            duration,
            nodes,
            raft: healthy,
            latency: latency(&mut Rng::new(seed, "plan/latency")),
            disk: disk(&mut Rng::new(seed, "plan/disk")),
            map_bytes_max: 1 << 30,
            thin_disks: thin_disks(&mut Rng::new(seed, "plan/thin"), nodes),
            unanswered_bytes_max: 256 * MIB,
            rejoin: nodes > 1 && Rng::new(seed, "plan/rejoin").percent(50),
            clocks_off_ms: vec![0; nodes],
            kinds: together(seed, nodes, kinds.iter().copied().collect()),
            damageable: damageable(&mut Rng::new(seed, "plan/damageable"), nodes),
            faults: Vec::new(),
        };
        plan.draw_faults(EVERY_MS_OFTEN);
        plan
    }

    fn draw_faults(&mut self, every_ms_max: u64) {
        let quiet = quiet(&mut Rng::new(self.seed, "plan/quiet"), self.duration);
        let mut drawn: Vec<(Duration, Duration, Fault)> = Vec::new();
        for kind in self.kinds.iter().copied() {
            let mut rng = Rng::new(self.seed, &format!("plan/faults/{}", kind.name()));
            let every = rng.magnitude(1000, every_ms_max);
            let longest = rng.magnitude(200, if kind == Kind::Hang { LONGEST_HANG_MS } else { 16_000 });
            // Before that nobody else can lead.
            let shortest = if kind == Kind::Depose { 1000 } else { 20 };
            let most = if kind.damages() { rng.between(1, 3) } else { u64::MAX };
            let mut at = LEAD_IN;
            for _ in 0..most {
                at += Duration::from_millis(rng.between(every / 5, every * 9 / 5));
                let until = at + Duration::from_millis(rng.magnitude(shortest, longest.max(2 * shortest)));
                let fault = draw::fault(kind, &mut rng, self.nodes, &self.damageable);
                if until >= self.duration {
                    break;
                }
                if quiet.iter().all(|(from, to)| until <= *from || *to <= at) {
                    drawn.push((at, until, fault));
                }
            }
        }
        drawn.sort_by_key(|(at, _, fault)| (*at, fault.kind())); // stable, and one kind's times only grow
        let numbered = drawn.into_iter().enumerate();
        self.faults =
            numbered.map(|(number, (at, until, fault))| Scheduled { number, at, until, fault }).collect();
    }

    /// The same without the faults of these numbers; everything else stays as it is.
    pub(crate) fn without(&self, numbers: &BTreeSet<usize>) -> Plan {
        let mut plan = self.clone();
        plan.faults.retain(|scheduled| !numbers.contains(&scheduled.number));
        plan
    }

    /// What the world must be, with its disks in `dir`.
    pub(crate) fn world(&self, dir: &Path, clients: usize) -> WorldOptions {
        WorldOptions {
            seed: self.seed,
            nodes: self.nodes,
            clients,
            dir: dir.to_owned(),
            latency: self.latency,
            disk: self.disk,
            raft: self.raft.clone(),
            map_bytes_max: self.map_bytes_max,
            thin_disks: self.thin_disks.clone(),
            unanswered_bytes_max: self.unanswered_bytes_max,
            rejoin: self.rejoin,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        let (raft, latency, disk) = (&self.raft, self.latency, self.disk.latency);
        writeln!(f, "seed {}: {} nodes, faults for {} s", self.seed, self.nodes, self.duration.as_secs())?;
        writeln!(
            f,
            "  heartbeat {} ms, election {} to {} ms",
            raft.heartbeat_ms, raft.election_ms_min, raft.election_ms_max
        )?;
        writeln!(
            f,
            "  log up to {} KiB, looked at every {} ms, maps up to {} MiB, {} KiB admitted",
            raft.log_bytes_max >> 10,
            raft.retention_interval.as_millis(),
            self.map_bytes_max / MIB,
            self.unanswered_bytes_max >> 10
        )?;
        writeln!(
            f,
            "  messages take {} to {} ms, the disk {} to {} ms",
            ms(latency.0),
            ms(latency.1),
            ms(disk.0),
            ms(disk.1)
        )?;
        writeln!(f, "  the disks of {:?} are thin", self.thin_disks)?;
        writeln!(f, "  clocks are off by {:?} ms", self.clocks_off_ms)?;
        let mut by_kind = BTreeMap::<Kind, usize>::new();
        self.faults.iter().for_each(|s| *by_kind.entry(s.fault.kind()).or_default() += 1);
        let counts: Vec<String> = by_kind.iter().map(|(kind, n)| format!("{n} {}", kind.name())).collect();
        let counts = if counts.is_empty() { "none".into() } else { counts.join(", ") };
        writeln!(f, "  faults: {counts}")?;
        self.faults.iter().try_for_each(|scheduled| writeln!(f, "{scheduled}"))
    }
}

fn nodes(rng: &mut Rng) -> usize {
    match rng.below(20) {
        0 | 1 => 1,
        2..6 => 5,
        6 => 7,
        _ => 3,
    }
}

fn off_ms(rng: &mut Rng) -> i64 {
    rng.between(0, 2 * CLOCK_APART_MS_MAX) as i64 - CLOCK_APART_MS_MAX as i64
}

fn raft(rng: &mut Rng) -> quorate_raft::Settings {
    let heartbeat_ms = rng.between(50, 200);
    let election_ms_min = rng.between(heartbeat_ms * 3, 700).max(200);
    let election_ms_max = rng.between(election_ms_min + 100, 1500);
    let log_bytes_max = match rng.below(3) {
        0 => quorate_raft::Settings::default().log_bytes_max,
        // A run writes a few hundred KiB: with less, followers that come back need snapshots.
        _ => rng.magnitude(2 << 10, 256 << 10),
    };
    quorate_raft::Settings {
        heartbeat_ms,
        election_ms_min,
        election_ms_max,
        log_bytes_max,
        retention_interval: Duration::from_millis(rng.magnitude(100, 1000)),
        snapshot_stall: Duration::from_secs(10),
        log_stall_after: Duration::from_millis(rng.magnitude(1000, 6000)),
        ..quorate_raft::Settings::default()
    }
}

fn latency(rng: &mut Rng) -> Latency {
    let least = rng.below(3);
    (Duration::from_millis(least), Duration::from_millis(least + rng.magnitude(1, 40)))
}

fn disk(rng: &mut Rng) -> DiskSpeed {
    let least = rng.below(2000);
    let greatest = least + rng.magnitude(500, 20_000);
    DiskSpeed { latency: (Duration::from_micros(least), Duration::from_micros(greatest)) }
}

fn map_bytes_max(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 => rng.magnitude(16 * MIB, 64 * MIB),
        _ => 1 << 30,
    }
}

fn thin_disks(rng: &mut Rng, nodes: usize) -> Vec<usize> {
    (0..nodes).filter(|_| rng.percent(50)).collect()
}

/// Mostly as little as the clients of a run reach.
fn unanswered_bytes_max(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => 256 * MIB,
        _ => rng.magnitude(64 << 10, MIB),
    }
}

/// A random part of the kinds, in some seeds none.
fn kinds(rng: &mut Rng) -> BTreeSet<Kind> {
    let percent = *rng.pick(&[0, 10, 20, 35, 35, 50, 50, 70, 100]);
    // The draw is made for each kind, so that what is possible for one does not change the others.
    Kind::ALL.into_iter().filter(|_| rng.percent(percent)).collect()
}

/// Of these kinds those that go together. A minority may be damaged, and while members are removed, that is nobody. Where a node
/// may come back as a new member, all run one program: an old one would be refused when the version was raised without it.
fn together(seed: u64, nodes: usize, mut kinds: BTreeSet<Kind>) -> BTreeSet<Kind> {
    if kinds.contains(&Kind::Upgrade) {
        let upgrades = Rng::new(seed, "plan/upgrade-or-come-back").percent(50);
        kinds.retain(|kind| match kind {
            Kind::Upgrade => upgrades,
            kind => !upgrades || *kind != Kind::Remove && !kind.damages(),
        });
    }
    let removes = kinds.contains(&Kind::Remove) && nodes > 2;
    let damages = kinds.iter().any(|kind| kind.damages());
    let removes = removes && (!damages || Rng::new(seed, "plan/remove-or-damage").percent(50));
    kinds.retain(|kind| match kind {
        Kind::Remove => removes,
        kind => !kind.damages() || nodes > 2 && !removes,
    });
    kinds
}

fn damageable(rng: &mut Rng, nodes: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..nodes).collect();
    rng.shuffle(&mut all);
    all.truncate((nodes - 1) / 2);
    all.truncate(rng.between(1, all.len().max(1) as u64) as usize);
    all
}

/// Times in which nothing goes wrong.
fn quiet(rng: &mut Rng, duration: Duration) -> Vec<(Duration, Duration)> {
    let windows = rng.below(3);
    let from = |rng: &mut Rng| Duration::from_millis(rng.below(duration.as_millis().max(1) as u64));
    (0..windows).map(|_| from(rng)).map(|at| (at, at + duration / 8)).collect()
}
