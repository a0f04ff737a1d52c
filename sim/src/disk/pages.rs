//! Where in an LMDB file the values are.
//!
//! The simulator damages values only. LMDB trusts its own pages: with a broken tree it follows wild pointers, and that
//! would end the simulator's process, which is the same as that of all nodes. What a node makes of a broken tree is for
//! tests with real processes; here every check above LMDB is put to work.

use std::ops::Range;

const PAGE: usize = 4096;
const HEADER: usize = 16;
const LEAF: u16 = 0x02;
const BRANCH: u16 = 0x01;
const OVERFLOW: u16 = 0x04;
const BIG: u16 = 0x01;
const TREE: u16 = 0x02;
/// Bytes of LMDB's description of a tree, and where its root stands in it.
const TREE_BYTES: usize = 48;
const TREE_ROOT: usize = 40;
/// Where the description of the main tree and the number of the transaction stand in a meta page.
const MAIN_TREE: usize = 88;
const TXN: usize = 144;
/// Deeper is no tree.
const DEPTH_MAX: usize = 16;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A node of a leaf page: its flags, and where its data is in the page.
struct Node {
    flags: u16,
    /// Length of the value, which may lie elsewhere.
    len: usize,
    data: Range<usize>,
    key: Range<usize>,
}

fn nodes(page: &[u8]) -> impl Iterator<Item = (Node, u64)> + '_ {
    let count = u16_at(page, 12).map_or(0, |lower| (lower as usize).saturating_sub(HEADER) / 2);
    (0..count).filter_map(move |i| {
        let at = u16_at(page, HEADER + 2 * i)? as usize;
        let (low, high) = (u16_at(page, at)?, u16_at(page, at + 2)?);
        let (flags, key_len) = (u16_at(page, at + 4)?, u16_at(page, at + 6)? as usize);
        let len = low as usize | (high as usize) << 16;
        let from = at + 8 + key_len;
        let to = if flags & BIG != 0 { from + 8 } else { from + len };
        let child = u64::from(low) | u64::from(high) << 16 | u64::from(flags) << 32;
        Some((Node { flags, len, data: from..to, key: at + 8..from }, child))
    })
}

/// Where the values of the newest transaction of an LMDB file are, in the order of their keys, table by table.
pub(crate) fn values(file: &[u8]) -> Vec<Range<usize>> {
    let txn = |page: usize| u64_at(file, page * PAGE + TXN).unwrap_or(0);
    let meta = if txn(0) > txn(1) { 0 } else { 1 };
    let mut found = Vec::new();
    if let Some(root) = u64_at(file, meta * PAGE + MAIN_TREE + TREE_ROOT) {
        walk(file, root, 0, &mut found);
    }
    found
}

fn walk(file: &[u8], number: u64, depth: usize, found: &mut Vec<Range<usize>>) {
    let Some(from) = usize::try_from(number).ok().and_then(|n| n.checked_mul(PAGE)) else { return };
    let Some(page) = file.get(from..from.saturating_add(PAGE)).filter(|_| depth < DEPTH_MAX) else { return };
    let flags = u16_at(page, 10).unwrap_or(0);
    if flags & BRANCH != 0 {
        nodes(page).for_each(|(_, child)| walk(file, child & 0xFFFF_FFFF_FFFF, depth + 1, found));
    } else if flags & LEAF != 0 {
        for (node, _) in nodes(page) {
            match node.flags & (BIG | TREE) {
                TREE if node.len == TREE_BYTES => {
                    if let Some(root) = u64_at(page, node.data.start + TREE_ROOT) {
                        walk(file, root, depth + 1, found);
                    }
                }
                BIG => {
                    let place = u64_at(page, node.data.start).map(|first| first as usize * PAGE + HEADER);
                    found.extend(place.map(|at| at..at + node.len).filter(|value| value.end <= file.len()));
                }
                0 if node.data.end <= PAGE => found.push(from + node.data.start..from + node.data.end),
                _ => {}
            }
        }
    }
}

/// Where the values are in what is about to be written: pages of an LMDB file. LMDB's list of free pages is kept in such
/// pages, too, and is none.
pub(super) fn values_in_write(bytes: &[u8]) -> Vec<Range<usize>> {
    let flags = u16_at(bytes, 10).unwrap_or(0);
    if !bytes.len().is_multiple_of(PAGE) || bytes.is_empty() {
        return Vec::new();
    }
    if flags & OVERFLOW != 0 {
        // A list of free pages begins with its small length, a row with a checksum, a record with its magic.
        let is_list = u64_at(bytes, HEADER).is_none_or(|first| first < 1 << 32);
        return if is_list { Vec::new() } else { std::iter::once(HEADER..bytes.len()).collect() };
    }
    if flags & LEAF == 0 || bytes.len() != PAGE {
        return Vec::new();
    }
    let values = nodes(bytes).filter(|(node, _)| {
        let is_list = node.key.len() == 8
            && u64_at(bytes, node.data.start).is_some_and(|n| (n as usize + 1).saturating_mul(8) == node.len);
        node.flags & (BIG | TREE) == 0 && !is_list && node.data.end <= PAGE
    });
    values.map(|(node, _)| node.data).collect()
}
