//! Draws the faults of a kind.

use std::time::Duration;

use super::fault::{ClockFault, Damage, Fault, Kind, Shape, Victim, Whom};
use crate::disk::Loss;
use crate::seed::Rng;

fn ms(rng: &mut Rng, low: u64, high: u64) -> Duration {
    Duration::from_millis(rng.magnitude(low, high))
}

fn whom(rng: &mut Rng, nodes: usize) -> Whom {
    match rng.below(4) {
        0 => Whom::Leader,
        1 => Whom::Follower,
        _ => Whom::Node(rng.below(nodes as u64) as usize),
    }
}

fn loss(rng: &mut Rng) -> Loss {
    *rng.pick(&[Loss::Nothing, Loss::Unsynced, Loss::Torn])
}

fn power_loss(rng: &mut Rng) -> Loss {
    *rng.pick(&[Loss::Unsynced, Loss::Torn])
}

/// Some of the nodes, at least one and not all.
fn part(rng: &mut Rng, nodes: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..nodes).collect();
    rng.shuffle(&mut all);
    all.truncate(rng.between(1, (nodes as u64 - 1).max(1)) as usize);
    all.sort_unstable();
    all
}

fn shape(rng: &mut Rng, nodes: usize) -> Shape {
    match rng.below(9) {
        0 => Shape::Halves(part(rng, nodes)),
        1 => Shape::One { whom: Whom::Leader, clients: rng.percent(50) },
        2 => Shape::One { whom: whom(rng, nodes), clients: rng.percent(50) },
        3 => Shape::Ring,
        4 => {
            let half = part(rng, nodes);
            let others: Vec<usize> = (0..nodes).filter(|node| !half.contains(node)).collect();
            let bridge = if others.is_empty() { half[0] } else { *rng.pick(&others) };
            Shape::Bridge { bridge, half }
        }
        5 => Shape::Star(Whom::Follower),
        6 => Shape::Mute(whom(rng, nodes)),
        7 => Shape::Deaf(whom(rng, nodes)),
        _ => Shape::Clients { percent: rng.between(20, 100) },
    }
}

fn clock(rng: &mut Rng) -> ClockFault {
    let sign = if rng.percent(50) { 1 } else { -1 };
    let by_ms = sign * rng.magnitude(1, super::CLOCK_OFF_MS_MAX) as i64;
    match rng.below(3) {
        0 => ClockFault::Jump(by_ms),
        1 => ClockFault::Drift(sign * rng.magnitude(50, 200_000) as i64),
        _ => ClockFault::Strobe { by_ms: by_ms / 4, every: ms(rng, 5, 500) },
    }
}

fn at_rest(rng: &mut Rng, node: usize) -> Fault {
    let data = [Victim::Log, Victim::Log, Victim::State];
    let any = [Victim::Log, Victim::State, Victim::OneIdentity, Victim::BothIdentities];
    let (victim, damage) = match rng.below(7) {
        0..3 => (*rng.pick(&any), Damage::Flip(rng.magnitude(1, 16) as u32)),
        3..5 => (*rng.pick(&any), Damage::Truncate(rng.below(1000))),
        _ => (*rng.pick(&data), Damage::Stale),
    };
    Fault::AtRest { node, victim, damage, loss: loss(rng) }
}

/// A fault of that kind in a cluster of so many nodes, of which these may be damaged.
pub(super) fn fault(kind: Kind, rng: &mut Rng, nodes: usize, damageable: &[usize]) -> Fault {
    match kind {
        Kind::Loss => Fault::Loss { per_million: rng.magnitude(50, 20_000) as u32 },
        Kind::Slow => {
            let least = ms(rng, 1, 300);
            Fault::Slow { whom: whom(rng, nodes), latency: (least, least + ms(rng, 1, 1000)) }
        }
        Kind::Spread => Fault::Spread { greatest: ms(rng, 5, 500) },
        Kind::Partition => Fault::Partition(shape(rng, nodes)),
        Kind::Flap => Fault::Flap { shape: shape(rng, nodes), every: ms(rng, 20, 2000) },
        Kind::Hold => Fault::Hold(rng.percent(70).then(|| whom(rng, nodes))),
        Kind::Crash => {
            let ops = if rng.percent(30) { 0 } else { rng.magnitude(1, 200) };
            Fault::Crash { whom: whom(rng, nodes), ops, after: rng.percent(50), loss: loss(rng) }
        }
        Kind::CrashAll => Fault::CrashAll { ops_max: rng.magnitude(1, 100), loss: power_loss(rng) },
        Kind::CrashAtStart => {
            Fault::CrashAtStart { whom: whom(rng, nodes), ops_max: rng.magnitude(1, 60), loss: loss(rng) }
        }
        Kind::Rolling => Fault::Rolling { apart: ms(rng, 50, 3000) },
        Kind::Pause => Fault::Pause(whom(rng, nodes)),
        Kind::Clock => Fault::Clock { node: rng.below(nodes as u64) as usize, what: clock(rng) },
        Kind::HandOver => Fault::HandOver { every: ms(rng, 100, 4000) },
        Kind::Snapshots => Fault::Snapshots { every: ms(rng, 10, 1000) },
        Kind::FailSync => Fault::FailSync(whom(rng, nodes)),
        Kind::Full => Fault::Full(whom(rng, nodes)),
        Kind::SlowDisk => {
            let least = ms(rng, 5, 5000);
            // What begins on the slow disk has to be over when the healed nodes are to agree.
            Fault::SlowDisk { whom: whom(rng, nodes), latency: (least, least + ms(rng, 1, 10_000)) }
        }
        Kind::AtRest => at_rest(rng, *rng.clone().pick(damageable)),
        Kind::Rot => Fault::Rot {
            node: *rng.pick(damageable),
            victim: *rng.pick(&[Victim::Log, Victim::State]),
            bits: rng.magnitude(1, 64) as u32,
        },
        Kind::Lies => {
            let lost = rng.below(8) as u32;
            Fault::Lies {
                node: *rng.pick(damageable),
                lost,
                misdirected: rng.below(8) as u32 + u32::from(lost == 0),
            }
        }
        Kind::LogStalls => Fault::LogStalls { whom: whom(rng, nodes), loss: power_loss(rng) },
        Kind::Remove => Fault::Remove { whom: whom(rng, nodes), dead: rng.percent(50).then(|| loss(rng)) },
        Kind::Upgrade => Fault::Upgrade { apart: ms(rng, 50, 2000) },
        Kind::Scarce => {
            let about = rng.magnitude(1 << 10, 8 << 20);
            Fault::Scarce { left: (0..nodes).map(|_| about * rng.between(50, 150) / 100).collect() }
        }
        Kind::Hang => Fault::Hang(whom(rng, nodes)),
        Kind::Gone => Fault::Gone { node: *rng.pick(damageable) },
        Kind::CrashInstalling => Fault::CrashInstalling {
            whom: whom(rng, nodes),
            away: ms(rng, 200, 5000),
            ops_max: rng.magnitude(2, 80),
            loss: loss(rng),
        },
        Kind::Depose => Fault::Depose { loss: loss(rng) },
        Kind::PauseClient => Fault::PauseClient { nth: rng.below(64) },
        Kind::LostDisk => {
            Fault::LostDisk { node: *rng.pick(damageable), behind: ms(rng, 50, 3000), loss: loss(rng) }
        }
    }
}
