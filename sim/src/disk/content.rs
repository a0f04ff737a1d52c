//! What the medium holds of a file, and what is on its way there.

use crate::seed::Rng;

/// A disk writes so many bytes whole or not at all.
const SECTOR: usize = 512;

/// A change that no sync has covered yet.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// These bytes go to this place.
    Put(u64, Vec<u8>),
    /// The file gets this length.
    Resize(u64),
}

/// A file as the medium has it: zeros follow the bytes, up to the length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// Up to the last byte that was ever written.
    pub(crate) bytes: Vec<u8>,
    /// Length of the file.
    pub(crate) len: u64,
}

impl Bytes {
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if self.bytes.len() < to {
            self.bytes.resize(to, 0);
        }
        self.bytes[from..to].copy_from_slice(bytes);
        self.len = self.len.max(to as u64);
    }

    pub(crate) fn resize(&mut self, len: u64) {
        self.bytes.truncate(len as usize);
        self.len = len;
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::Put(offset, bytes) => self.put(*offset, bytes),
            Change::Resize(len) => self.resize(*len),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(super) durable: Bytes,
    pub(super) pending: Vec<Change>,
    /// Nothing was ever written at or after this place, so that whoever copies the file needs not look there.
    pub(super) extent: u64,
}

impl Content {
    /// All of it is on the medium.
    pub(super) fn settled(durable: Bytes) -> Self {
        Content { extent: durable.bytes.len() as u64, durable, pending: Vec::new() }
    }

    /// A sync reached the medium.
    pub(super) fn settle(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.durable.take(&change);
        }
    }

    /// What the medium holds after a power loss that kept, lost or tore each of the pending changes. A change of the
    /// length is kept or lost.
    pub(super) fn torn(&self, rng: &mut Rng) -> Bytes {
        let mut file = self.durable.clone();
        for change in &self.pending {
            match (rng.below(4), change) {
                (0, _) => {}
                (1, Change::Put(offset, bytes)) => {
                    for (i, sector) in bytes.chunks(SECTOR).enumerate() {
                        if rng.percent(50) {
                            file.put(offset + (i * SECTOR) as u64, sector);
                        }
                    }
                }
                (_, change) => file.take(change),
            }
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_file_has_each_sector_as_it_was_or_as_it_was_to_be() {
        let mut content = Content::default();
        content.pending.push(Change::Put(0, vec![1; 4 * SECTOR]));
        content.settle();
        content.pending.push(Change::Put(0, vec![2; 4 * SECTOR]));
        let (mut mixed, mut old, mut new) = (0, 0, 0);
        for seed in 0..100 {
            let file = content.torn(&mut Rng::new(seed, "torn"));
            let sectors: Vec<u8> = file.bytes.chunks(SECTOR).map(|s| s[0]).collect();
            assert!(
                file.bytes.chunks(SECTOR).all(|s| s.iter().all(|b| *b == s[0])),
                "within a sector: {sectors:?}"
            );
            match (sectors.contains(&1), sectors.contains(&2)) {
                (true, true) => mixed += 1,
                (true, false) => old += 1,
                _ => new += 1,
            }
        }
        assert!(mixed > 0 && old > 0 && new > 0, "{mixed} {old} {new}");
    }

    #[test]
    fn what_is_behind_the_bytes_is_zeros_up_to_the_length() {
        let mut file = Bytes::default();
        file.resize(1 << 40);
        assert_eq!((file.bytes.len(), file.len), (0, 1 << 40));
        file.put(10, b"abc");
        assert_eq!((file.bytes.len(), file.len), (13, 1 << 40));
        file.resize(11);
        assert_eq!((file.bytes.as_slice(), file.len), (&b"\0\0\0\0\0\0\0\0\0\0a"[..], 11));
    }
}
