use std::collections::BTreeSet;

use super::{CLOCK_OFF_MS_MAX, ClockFault, Fault, Kind, Plan};

#[test]
fn a_seed_has_one_plan() {
    for seed in 0..200 {
        let plan = Plan::from_seed(seed, 60);
        assert_eq!(plan, Plan::from_seed(seed, 60));
        assert_eq!(plan.to_string(), Plan::from_seed(seed, 60).to_string());
    }
    assert_ne!(Plan::from_seed(1, 60).to_string(), Plan::from_seed(2, 60).to_string());
}

#[test]
fn never_is_more_than_a_minority_damaged() {
    let mut damaged_somewhere = 0;
    for seed in 0..10_000 {
        let plan = Plan::from_seed(seed, 60);
        let damaged: BTreeSet<usize> = plan.faults.iter().filter_map(|s| s.fault.damaged()).collect();
        assert!(damaged.len() <= (plan.nodes - 1) / 2, "seed {seed}: {damaged:?} of {}", plan.nodes);
        assert!(damaged.iter().all(|node| plan.damageable.contains(node)), "seed {seed}");
        assert!(plan.faults.iter().all(|s| s.fault.damaged().is_some() == s.fault.kind().damages()));
        damaged_somewhere += usize::from(!damaged.is_empty());
    }
    assert!(damaged_somewhere > 1000, "{damaged_somewhere}");
}

#[test]
fn what_is_left_out_changes_nothing_else() {
    for seed in 0..300 {
        let plan = Plan::from_seed(seed, 60);
        let odd: BTreeSet<usize> = plan.faults.iter().map(|s| s.number).filter(|n| n % 2 == 1).collect();
        let without = plan.without(&odd);
        let kept: Vec<_> = plan.faults.iter().filter(|s| s.number % 2 == 0).cloned().collect();
        assert_eq!(without.faults, kept);
        assert_eq!(Plan { faults: plan.faults.clone(), ..without }, plan);
    }
}

#[test]
fn faults_end_in_time_and_clocks_stay_within_bounds() {
    for seed in 0..1000 {
        let plan = Plan::from_seed(seed, 60);
        for (i, scheduled) in plan.faults.iter().enumerate() {
            assert_eq!(scheduled.number, i);
            assert!(scheduled.at < scheduled.until && scheduled.until < plan.duration, "{scheduled}");
            if let Fault::Clock {
                what: ClockFault::Jump(by) | ClockFault::Strobe { by_ms: by, .. }, ..
            } = scheduled.fault
            {
                assert!(by.unsigned_abs() <= CLOCK_OFF_MS_MAX);
            }
        }
        let raft = &plan.raft;
        assert!(raft.heartbeat_ms * 2 < raft.election_ms_min && raft.election_ms_min < raft.election_ms_max);
    }
}

#[test]
fn every_kind_and_every_size_comes_up_and_some_seeds_are_healthy() {
    let (mut kinds, mut sizes, mut healthy) = (BTreeSet::new(), BTreeSet::new(), 0);
    for seed in 0..2000 {
        let plan = Plan::from_seed(seed, 60);
        kinds.extend(plan.faults.iter().map(|s| s.fault.kind()));
        sizes.insert(plan.nodes);
        healthy += usize::from(plan.kinds.is_empty());
    }
    assert_eq!(kinds, Kind::ALL.into_iter().collect());
    assert_eq!(sizes, BTreeSet::from([1, 3, 5, 7]));
    assert!(healthy > 50, "{healthy}");
}
