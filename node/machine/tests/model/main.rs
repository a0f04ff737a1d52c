//! The machine against a naive model: random entries of all verbs; replies, effects, reads and every invariant are
//! compared after each entry. A second replica applies the same entries and is torn down to bytes and
//! built again on the way: its rows must be the same, byte for byte (P10).
//!
//! `QUORATE_CASES=5000 cargo test -p quorate-machine --test model` searches longer.

mod ops;
mod tally;

use std::collections::BTreeMap;

use bytes::Bytes;
use ops::Op;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use quorate_machine::command::{Batch, Command};
use quorate_machine::{MemoryStore, apply, check, digest, read};
use quorate_model::compare;
use quorate_model::naive::Naive;

fn cases() -> u32 {
    let given = |name| std::env::var(name).ok().and_then(|cases| cases.parse().ok());
    given("QUORATE_CASES").or_else(|| given("PROPTEST_CASES")).unwrap_or(384)
}

/// All rows as one byte string, and back: what a snapshot does.
fn rebuilt(store: &MemoryStore) -> MemoryStore {
    let mut bytes = Vec::new();
    for (key, value) in store.rows() {
        for part in [key, value] {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
    }
    let mut rest = &bytes[..];
    let mut part = || {
        let (len, tail) = rest.split_first_chunk::<4>()?;
        let (part, tail) = tail.split_at(u32::from_be_bytes(*len) as usize);
        rest = tail;
        Some(part.to_vec())
    };
    std::iter::from_fn(|| Some((part()?, Bytes::from(part()?)))).collect()
}

#[derive(Clone, Debug)]
struct Entry {
    /// Added to the leader's clock, which may also go back.
    advance_ms: i64,
    rebuild: bool,
    ops: Vec<Op>,
}

fn entry() -> impl Strategy<Value = Entry> {
    let advance_ms = prop_oneof![
        6 => 0i64..20,
        2 => 20i64..400,
        1 => 400i64..4000,
        1 => -500i64..0,
    ];
    (advance_ms, prop::bool::weighted(0.1), prop::collection::vec(ops::op(), 1..6))
        .prop_map(|(advance_ms, rebuild, ops)| Entry { advance_ms, rebuild, ops })
}

/// How often something happened.
type Tally = BTreeMap<&'static str, u64>;

fn run(entries: Vec<Entry>, tally: &mut Tally) -> Result<(), TestCaseError> {
    let (mut store, mut replica) = (MemoryStore::new(), MemoryStore::new());
    let mut naive = Naive::default();
    let mut clock_ms = 1_000_000u64;
    // A world in which something can happen: the rest of the setting up is left to chance.
    let setup = Entry { advance_ms: 0, rebuild: false, ops: ops::setup() };
    for entry in std::iter::once(setup).chain(entries) {
        clock_ms = clock_ms.saturating_add_signed(entry.advance_ms);
        naive.now_ms = naive.now_ms.max(clock_ms);
        naive.effects.clear();
        let (mut commands, mut expected) = (Vec::new(), Vec::new());
        for op in &entry.ops {
            let verb = op.resolve(&naive);
            expected.push(naive.carry_out(&verb));
            commands.push(Command::from(verb));
        }
        naive.assign_all();
        let bytes = Batch::new(clock_ms, commands.clone()).encode();
        let applied = apply(&mut store, &bytes).expect("memory does not fail");

        tally::count(&applied, tally);
        let same = compare::answers(&applied, &expected, &naive)
            .and_then(|()| compare::deadline(&applied, &naive))
            .and_then(|()| compare::sent(&store, &applied, &naive))
            .and_then(|()| compare::reads(&store, &naive))
            .and_then(|()| check::check(&store));
        if let Err(problem) = same {
            return Err(TestCaseError::fail(format!("{problem} after {commands:?}")));
        }
        prop_assert_eq!(read::digest(&store).ok(), digest::recount(&store).ok());

        if entry.rebuild {
            replica = rebuilt(&replica);
        }
        let again = apply(&mut replica, &bytes).expect("memory does not fail");
        prop_assert_eq!(&again, &applied);
        prop_assert!(replica == store, "the replicas differ");
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config { cases: cases(), max_shrink_iters: 20_000, failure_persistence: None, ..Config::default() })]
    #[test]
    fn the_machine_is_the_model(entries in prop::collection::vec(entry(), 1..40)) {
        run(entries, &mut Tally::new())?;
    }
}

/// A search that never meets a case proves nothing about it: each of these must come up, with the same seed always.
#[test]
fn the_search_meets_every_case() {
    let mut runner = TestRunner::deterministic();
    let entries = prop::collection::vec(entry(), 1..40);
    let mut tally = Tally::new();
    for _ in 0..200 {
        let case = entries.new_tree(&mut runner).expect("nothing is filtered").current();
        run(case, &mut tally).expect("the machine is the model");
    }
    for case in tally::CASES {
        let times = tally.get(case).copied().unwrap_or(0);
        assert!(times >= 20, "{case}: {times} times in {tally:?}");
    }
}
