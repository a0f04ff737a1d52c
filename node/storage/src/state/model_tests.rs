//! A state is an ordered map, whatever is flushed, brought in, purged, sent and opened again in between.

use proptest::prelude::*;
use quorate_machine::store::Store;

use super::tests::{Rows, check, entry, key_of, open, transfer_to_a_new_one};
use super::*;
use crate::log::ShardLog;
use crate::testing::{gone, id, member, open_log, runtime};

#[derive(Debug, Clone)]
enum Op {
    /// An entry's changes; it is dropped without commit if not `commit`.
    Entry {
        changes: Vec<(u8, Option<usize>)>,
        commit: bool,
    },
    Flush,
    BringIn {
        back: u64,
    },
    /// As far as it may go.
    Purge,
    Reopen {
        close: bool,
    },
    Transfer,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let change = (0u8..12, prop::option::weighted(0.6, 0usize..40_000));
    let op = prop_oneof![
        8 => (prop::collection::vec(change, 0..6), prop::bool::weighted(0.8))
            .prop_map(|(changes, commit)| Op::Entry { changes, commit }),
        2 => Just(Op::Flush),
        1 => (0u64..5).prop_map(|back| Op::BringIn { back }),
        1 => Just(Op::Purge),
        1 => any::<bool>().prop_map(|close| Op::Reopen { close }),
        1 => Just(Op::Transfer),
    ];
    prop::collection::vec(op, 1..40)
}

/// Appends an entry and applies it; the rows after it, unless it is dropped without commit and cut off again.
async fn apply(
    state: &State,
    shard: &ShardLog,
    now: &Rows,
    index: u64,
    changes: Vec<(u8, Option<usize>)>,
    commit: bool,
) -> Option<Rows> {
    state.ready().await;
    let (before, mut next) = (shard.last(), now.clone());
    let entry = entry(index, &changes);
    shard.append(vec![entry.clone()], Box::new(|r| r.unwrap())).unwrap();
    let mut writer = state.write_entry(index, &entry.payload);
    let mut from = 0;
    for (key, length) in changes {
        let key = key_of(key);
        if let Some(length) = length {
            let value = entry.payload.slice(from..from + length);
            from += length;
            writer.put(&key, value.clone()).unwrap();
            next.insert(key, value);
        } else {
            writer.delete(&key).unwrap();
            next.remove(&key);
        }
        check(&writer, &next);
    }
    if commit {
        writer.commit(id(1, index), Some(Bytes::from(format!("members {index}")))).unwrap();
        return Some(next);
    }
    drop(writer);
    shard.truncate_after(before).await.unwrap();
    None
}

async fn run_model(threads: bool, flush_bytes: u64, ops: Vec<Op>) {
    let tmp = tempfile::tempdir().unwrap();
    let dir = member(tmp.path());
    let mut log = open_log(&dir, threads);
    let mut shard = log.shard(3).unwrap();
    let mut state = open(&dir, &shard, threads, flush_bytes);
    // What the state was after each entry.
    let mut history: Vec<Rows> = Vec::new();
    let mut now = Rows::new();
    for op in ops {
        match op {
            Op::Entry { changes, commit } => {
                if let Some(next) = apply(&state, &shard, &now, history.len() as u64, changes, commit).await {
                    history.push(next.clone());
                    now = next;
                }
            }
            Op::BringIn { back } => {
                let upto = (history.len() as u64).saturating_sub(back);
                state.bring_in(upto).await.unwrap();
                let flushed = state.flushed().map_or(0, |id| id.index + 1);
                assert!(state.needed_from() >= flushed.min(upto + 1));
            }
            Op::Purge => {
                if let Some(upto) = state.needed_from().checked_sub(1).filter(|upto| *upto >= shard.first()) {
                    shard.purge(id(1, upto)).unwrap();
                }
            }
            Op::Flush => assert_eq!(state.flush().await.unwrap(), state.applied().last),
            Op::Reopen { close } => {
                let applied = state.applied().last;
                if close {
                    state.close().await.unwrap()
                } else {
                    drop(state)
                }
                gone(&dir.state_path(3, 0)).await;
                drop(shard);
                log.close().await;
                gone(&dir.log_path()).await;
                log = open_log(&dir, threads);
                shard = log.shard(3).unwrap();
                state = open(&dir, &shard, threads, flush_bytes);
                let back = state.applied();
                assert!(back.last <= applied && (!close || back.last == applied));
                assert_eq!(state.flushed(), back.last);
                assert!(back.last.map(|l| l.index) <= shard.last().map(|l| l.index));
                // What was not flushed is applied again, from the log as it would be.
                let kept = back.last.map_or(0, |l| l.index as usize + 1);
                assert_eq!(
                    back.membership,
                    back.last.map_or(String::new(), |l| format!("members {}", l.index))
                );
                now = kept.checked_sub(1).map_or(Rows::new(), |i| history[i].clone());
                history.truncate(kept);
                let last = back.last;
                shard.truncate_after(last).await.unwrap();
            }
            Op::Transfer => transfer_to_a_new_one(&state, &now, threads).await,
        }
        check(&state.read(), &now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 16, ..ProptestConfig::default() })]

    #[test]
    fn a_state_is_an_ordered_map_inline(ops in ops(), flush_bytes in prop_oneof![Just(1u64), Just(60_000), Just(1 << 25)]) {
        runtime().block_on(run_model(false, flush_bytes, ops));
    }

    #[test]
    fn a_state_is_an_ordered_map_with_threads(ops in ops(), flush_bytes in prop_oneof![Just(1u64), Just(60_000), Just(1 << 25)]) {
        runtime().block_on(run_model(true, flush_bytes, ops));
    }
}
