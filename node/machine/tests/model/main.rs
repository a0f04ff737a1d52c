//! The machine against a naive model: random entries of all verbs; replies, effects, reads and every invariant are
//! compared after each entry. A second replica applies the same entries and is torn down to bytes and
//! built again on the way: its rows must be the same, byte for byte (P10).
//!
//! `QUORATE_CASES=5000 cargo test -p quorate-machine --test model` searches longer.

mod ops;
mod parked;
mod publish;
mod retain;
mod rules;
mod settings;
mod settle;
mod subs;
mod tally;
mod transact;

use std::collections::BTreeMap;

use bytes::Bytes;
use ops::Op;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use quorate_machine::command::{Batch, Command, Verb};
use quorate_machine::reply::Outcome;
use quorate_machine::{MemoryStore, apply, check, digest, read};
use quorate_model::compare;
use quorate_model::naive::Naive;

/// So many histories are searched for what the search has to meet.
const CASES_COUNTED: usize = 1000;

fn cases() -> u32 {
    let given = |name| std::env::var(name).ok().and_then(|cases| cases.parse().ok());
    given("QUORATE_CASES").or_else(|| given("PROPTEST_CASES")).unwrap_or(1000)
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

/// Mostly entries as they come; now and then a few in which somebody fails with whatever it holds, again and again.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let setup = prop::array::uniform3(retain::created()).prop_map(|retain| Entry {
        advance_ms: 0,
        rebuild: false,
        ops: ops::setup(retain),
    });
    let failing = (ops::failing(), 2usize..24)
        .prop_map(|(ops, times)| vec![Entry { advance_ms: 160, rebuild: false, ops }; times]);
    let some = prop_oneof![30 => entry().prop_map(|entry| vec![entry]), 1 => failing];
    (setup, prop::collection::vec(some, 1..40)).prop_map(|(setup, all)| {
        let rest = all.into_iter().flatten();
        std::iter::once(setup).chain(rest).collect()
    })
}

/// How often something happened.
type Tally = BTreeMap<&'static str, u64>;

/// The machine twice: one replica is torn down to bytes now and then.
#[derive(Default)]
struct Machine {
    store: MemoryStore,
    replica: MemoryStore,
}

impl Machine {
    /// Applies an entry and holds what comes of it against the model.
    fn entry(
        &mut self,
        bytes: &Bytes,
        expected: &[Outcome],
        naive: &Naive,
        rebuild: bool,
    ) -> Result<(), String> {
        let applied =
            apply(&mut self.store, bytes).map_err(|error| format!("the machine failed: {error}"))?;
        compare::answers(&applied, expected, naive)?;
        compare::deadline(&applied, naive)?;
        compare::sent(&self.store, &applied, naive)?;
        compare::reads(&self.store, naive)?;
        check::check(&self.store)?;
        if read::digest(&self.store).ok() != digest::recount(&self.store).ok() {
            return Err("the digest is not that of the rows".into());
        }
        if rebuild {
            self.replica = rebuilt(&self.replica);
        }
        let again =
            apply(&mut self.replica, bytes).map_err(|error| format!("the replica failed: {error}"))?;
        if again != applied || self.replica != self.store {
            return Err("the replicas differ".into());
        }
        Ok(())
    }
}

/// Carries out entries by the model and, if there is one, by the machine.
fn run(entries: Vec<Entry>, mut machine: Option<Machine>, tally: &mut Tally) -> Result<(), TestCaseError> {
    let mut naive = Naive::default();
    let mut clock_ms = 1_000_000u64;
    for entry in entries {
        clock_ms = clock_ms.saturating_add_signed(entry.advance_ms);
        naive.now_ms = naive.now_ms.max(clock_ms);
        naive.effects.clear();
        let (mut verbs, mut expected): (Vec<Verb>, Vec<Outcome>) = (Vec::new(), Vec::new());
        for op in &entry.ops {
            let verb = op.resolve(&naive);
            let before = tally::Before::of(&naive);
            expected.push(naive.carry_out(&verb));
            before.count(&naive, &verb, &expected[expected.len() - 1], tally);
            verbs.push(verb);
        }
        naive.assign_all();
        tally::count(&naive, tally);
        let mut same = rules::check(&naive);
        if let Some(machine) = &mut machine {
            let commands: Vec<Command> = verbs.iter().cloned().map(Command::from).collect();
            let bytes = Batch::new(clock_ms, commands).encode();
            same = same.and_then(|()| machine.entry(&bytes, &expected, &naive, entry.rebuild));
        }
        if let Err(problem) = same {
            return Err(TestCaseError::fail(format!("{problem} after {verbs:?}")));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config { cases: cases(), max_shrink_iters: 20_000, failure_persistence: None, ..Config::default() })]
    #[test]
    fn the_machine_is_the_model(entries in entries()) {
        run(entries, Some(Machine::default()), &mut Tally::new())?;
    }
}

/// A search that never meets a case proves nothing about it: each of these must come up, with the same seed always. That
/// the machine does as the model in each of them is the other test's affair.
#[test]
fn the_search_meets_every_case() {
    let mut runner = TestRunner::deterministic();
    let entries = entries();
    let mut tally = Tally::new();
    for _ in 0..CASES_COUNTED {
        let case = entries.new_tree(&mut runner).expect("nothing is filtered").current();
        run(case, None, &mut tally).expect("the model keeps its rules");
    }
    let rare: Vec<(&str, u64)> = tally::CASES
        .iter()
        .map(|case| (*case, tally.get(case).copied().unwrap_or(0)))
        .filter(|(_, times)| *times < 20)
        .collect();
    assert!(rare.is_empty(), "{rare:?} of {tally:#?}");
}
