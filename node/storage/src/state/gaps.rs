//! Where the running entry has found no rows: what it read in vain it does not read again.
//!
//! A queue's rows come at one end and go at the other, and a removed row stays as a tombstone until it is flushed. Whoever looks
//! for the first row steps over all of them, each time: many at once would cost their square. So a read notes the stretch that
//! it stepped over, and the next one begins behind it. A row that is put there ends the stretch. Nothing depends on
//! what is noted but the time that it takes.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use bytes::Bytes;

/// Fewer removed rows are stepped over as quickly as they are noted. Tests note every one.
const DEAD_MIN: usize = if cfg!(test) { 1 } else { 16 };
/// Most stretches; one more, and all are forgotten.
const GAPS_MAX: usize = 1024;

/// Stretches of keys without a row, `from <= key < to`, apart from each other.
#[derive(Default)]
pub(crate) struct Gaps(BTreeMap<Bytes, Bytes>);

impl Gaps {
    /// The first key from there on that may have a row.
    pub fn after(&self, from: &[u8]) -> Option<Bytes> {
        let (_, to) = self.0.range::<[u8], _>((Unbounded, Included(from))).next_back()?;
        (from < to).then(|| to.clone())
    }

    /// Below which key a row may be, of those below `to`.
    pub fn before(&self, to: &[u8]) -> Option<Bytes> {
        let (from, end) = self.0.range::<[u8], _>((Unbounded, Excluded(to))).next_back()?;
        (to <= end).then(|| from.clone())
    }

    /// A read stepped over so many removed rows, and there is none else from `from` to below `to`.
    pub fn note(&mut self, dead: usize, from: &[u8], to: &[u8]) {
        if dead < DEAD_MIN || from >= to {
            return;
        }
        let (mut from, mut to) = (Bytes::copy_from_slice(from), Bytes::copy_from_slice(to));
        // Those that it touches become one with it.
        while let Some((other, end)) = self.0.range::<[u8], _>((Unbounded, Included(&to[..]))).next_back()
            && *end >= from
        {
            let other = other.clone();
            if let Some(end) = self.0.remove(&other) {
                (from, to) = (from.min(other), to.max(end));
            }
        }
        if self.0.len() >= GAPS_MAX {
            self.0.clear();
        }
        self.0.insert(from, to);
    }

    /// A row is put at `key`.
    pub fn end_at(&mut self, key: &[u8]) {
        if self.0.is_empty() || self.after(key).is_none() {
            return;
        }
        let Some((from, to)) = self.0.range::<[u8], _>((Unbounded, Included(key))).next_back() else {
            return;
        };
        let (from, to) = (from.clone(), to.clone());
        self.0.remove(&from);
        let key = Bytes::copy_from_slice(key);
        let next = next_to(&key);
        if from < key {
            self.0.insert(from, key);
        }
        if next < to {
            self.0.insert(next, to);
        }
    }

    /// Another state took the place of the one that was read.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// The key that comes next to `key`.
pub(crate) fn next_to(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Put(u8),
        Remove(u8),
        First(u8, u8),
        Last(u8, u8),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let key = 0u8..40;
        let op = prop_oneof![
            3 => key.clone().prop_map(Op::Put),
            4 => key.clone().prop_map(Op::Remove),
            3 => (key.clone(), key.clone()).prop_map(|(a, b)| Op::First(a, b)),
            3 => (key.clone(), key).prop_map(|(a, b)| Op::Last(a, b)),
        ];
        prop::collection::vec(op, 1..120)
    }

    /// What a stretch says there is none of is not there, whatever was put and removed; and stretches stay apart.
    fn holds(gaps: &Gaps, rows: &BTreeSet<u8>) -> bool {
        let covered = |row: &u8| gaps.after(&[*row]).is_some();
        let apart = gaps.0.iter().zip(gaps.0.iter().skip(1)).all(|((_, end), (next, _))| end < next);
        !rows.iter().any(covered) && apart && gaps.0.iter().all(|(from, to)| from < to)
    }

    proptest! {
        #[test]
        fn nothing_that_is_there_is_stepped_over(ops in ops()) {
            let (mut gaps, mut rows, mut gone) = (Gaps::default(), BTreeSet::new(), BTreeSet::new());
            for op in ops {
                match op {
                    Op::Put(key) => {
                        rows.insert(key);
                        gone.remove(&key);
                        gaps.end_at(&[key]);
                    }
                    Op::Remove(key) => {
                        rows.remove(&key);
                        gone.insert(key);
                    }
                    Op::First(from, to) if from < to => {
                        let begin = gaps.after(&[from]).map_or(from, |key| key[0].min(to));
                        let expected = rows.range(from..to).next().copied();
                        prop_assert_eq!(rows.range(begin..to).next().copied(), expected);
                        let end = expected.unwrap_or(to);
                        gaps.note(gone.range(begin..end.max(begin)).count(), &[begin], &[end]);
                    }
                    Op::Last(from, to) if from < to => {
                        let end = gaps.before(&[to]).map_or(to, |key| (key[0] + u8::from(key.len() > 1)).max(from));
                        let expected = rows.range(from..to).next_back().copied();
                        prop_assert_eq!(rows.range(from..end).next_back().copied(), expected);
                        let begin = expected.map_or(from, |key| key + 1);
                        gaps.note(gone.range(begin.min(end)..end).count(), &[begin], &[end]);
                    }
                    Op::First(..) | Op::Last(..) => {}
                }
                prop_assert!(holds(&gaps, &rows), "{:?} {:?}", gaps.0, rows);
            }
        }
    }

    #[test]
    fn a_stretch_grows_and_is_cut() {
        let mut gaps = Gaps::default();
        gaps.note(9, b"b", b"f");
        assert_eq!((gaps.after(b"a"), gaps.after(b"b"), gaps.after(b"f")), (None, Some("f".into()), None));
        assert_eq!((gaps.before(b"g"), gaps.before(b"f"), gaps.before(b"b")), (None, Some("b".into()), None));
        gaps.note(9, b"f", b"h");
        assert_eq!(gaps.after(b"c"), Some("h".into()));
        gaps.note(0, b"m", b"n");
        assert_eq!(gaps.after(b"m"), None, "there was nothing to step over");
        gaps.end_at(b"d");
        assert_eq!(
            (gaps.after(b"c"), gaps.after(b"d"), gaps.after(b"e")),
            (Some("d".into()), None, Some("h".into()))
        );
        gaps.forget();
        assert_eq!(gaps.after(b"c"), None);
    }
}
