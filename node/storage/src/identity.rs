//! Who a data directory belongs to, outside LMDB, so that a lost environment is noticed.
//!
//! Each of the two copies, numbers little-endian:
//!
//! ```text
//!  0 magic "QIDN" | 4 format u16 | 6 flags u8 (bit 0: voted) | 7 zero | 8 sequence u64 | 16 cluster id | 32 node id u64
//! 40 incarnation 16 bytes | 56 joined at u64 | 64 name length u16 | 66 name | xxh3-64 of all before
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use crate::error::Error;

/// The identity format this program writes, and the newest it reads.
pub const FORMAT: u16 = 1;
/// Longest name of a node, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;
const MAGIC: &[u8; 4] = b"QIDN";
const FIXED: usize = 66;
const COPIES: [&str; 2] = ["identity.a", "identity.b"];

/// Who a data directory belongs to. Cluster and node id never change; a new incarnation is a new directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The format of the file, [`FORMAT`] for a new one.
    pub format_version: u16,
    /// The cluster, drawn at random when it was formed.
    pub cluster_id: [u8; 16],
    /// The node's number, given out by the cluster once and never again.
    pub node_id: u64,
    /// The node's stable name, at most [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Drawn at random when the directory was made.
    pub incarnation: [u8; 16],
    /// Index of a membership that the node was in: if it is in none of a later index, it was removed.
    pub joined_at: u64,
    /// Whether the node may have voted or acknowledged anything: set, for ever, once its log exists.
    pub voted: bool,
}

impl Identity {
    fn encode(&self, sequence: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.name.len() + 8);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.format_version.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.voted), 0]);
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&self.cluster_id);
        out.extend_from_slice(&self.node_id.to_le_bytes());
        out.extend_from_slice(&self.incarnation);
        out.extend_from_slice(&self.joined_at.to_le_bytes());
        out.extend_from_slice(&(self.name.len() as u16).to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        let sum = XxHash3_64::oneshot(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// `None` if the bytes are not a whole, undamaged copy.
    fn decode(bytes: &[u8]) -> Result<Option<(u64, Identity)>, u16> {
        let Some(body_len) = bytes.len().checked_sub(8) else { return Ok(None) };
        let (body, sum) = bytes.split_at(body_len);
        if body.len() < 6 || &body[..4] != MAGIC || XxHash3_64::oneshot(body).to_le_bytes() != sum {
            return Ok(None);
        }
        // A newer format may have any length, so it is told before anything after it is read.
        let format_version = u16::from_le_bytes([body[4], body[5]]);
        if format_version > FORMAT {
            return Err(format_version);
        }
        if body.len() < FIXED || body.len() - FIXED != usize::from(u16::from_le_bytes([body[64], body[65]])) {
            return Ok(None);
        }
        let u64_at = |i: usize| body[i..i + 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let id_at = |i: usize| -> [u8; 16] { std::array::from_fn(|n| body[i + n]) };
        let Ok(name) = String::from_utf8(body[FIXED..].to_vec()) else { return Ok(None) };
        let identity = Identity {
            format_version,
            cluster_id: id_at(16),
            node_id: u64_at(32),
            name,
            incarnation: id_at(40),
            joined_at: u64_at(56),
            voted: body[6] & 1 == 1,
        };
        Ok(Some((u64_at(8), identity)))
    }
}

/// Reads the newer of the two copies and mends the other. `None` if there is no copy at all.
pub(crate) fn load(dir: &Path) -> Result<Option<(u64, Identity)>, Error> {
    let mut copies = Vec::new();
    let mut missing = 0;
    for copy in COPIES {
        let path = dir.join(copy);
        match fs::read(&path) {
            Ok(bytes) => copies.push(Identity::decode(&bytes).map_err(|found| Error::NewerFormat {
                what: path.display().to_string(),
                found,
                supported: FORMAT,
            })?),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                missing += 1;
                copies.push(None);
            }
            Err(e) => return Err(Error::io("reading", &path, &e)),
        }
    }
    if missing == 2 {
        return Ok(None);
    }
    let Some((sequence, identity)) = copies.iter().flatten().max_by_key(|(sequence, _)| *sequence).cloned()
    else {
        return Err(Error::corrupt(
            dir.join(COPIES[0]).display().to_string(),
            "both copies of the identity are bad",
        ));
    };
    let good = Some((sequence, identity.clone()));
    for (copy, found) in COPIES.iter().zip(&copies) {
        if *found != good {
            tracing::warn!(copy, "a copy of the identity was bad or old and is written again from the other");
            write(&dir.join(copy), &identity.encode(sequence))?;
        }
    }
    Ok(good)
}

/// Whether one of the copies is there.
pub(crate) fn is_there(dir: &Path) -> bool {
    COPIES.iter().any(|copy| dir.join(copy).exists())
}

/// Writes both copies, one after the other: at any moment one of them is whole.
pub(crate) fn save(dir: &Path, sequence: u64, identity: &Identity) -> Result<(), Error> {
    let bytes = identity.encode(sequence);
    COPIES.iter().try_for_each(|copy| write(&dir.join(copy), &bytes))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let fresh = PathBuf::from(format!("{}.new", path.display()));
    let failed = |e: std::io::Error| Error::io("writing", path, &e);
    let mut file = File::create(&fresh).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&fresh, path).map_err(failed)?;
    sync_dir(path.parent().unwrap_or(path))
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::io("syncing", dir, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned: it is on disks.
    #[test]
    fn the_bytes_of_an_identity() {
        let identity = Identity {
            format_version: FORMAT,
            cluster_id: [0xc1; 16],
            node_id: 3,
            name: "n3".into(),
            incarnation: [0x1c; 16],
            joined_at: 9,
            voted: true,
        };
        let bytes = identity.encode(7);
        let numbers = |number: u8| [number, 0, 0, 0, 0, 0, 0, 0];
        let body = [
            &b"QIDN"[..],
            &[1, 0, 1, 0],
            &numbers(7),
            &[0xc1; 16],
            &numbers(3),
            &[0x1c; 16],
            &numbers(9),
            &[2, 0],
            b"n3",
        ]
        .concat();
        assert_eq!(bytes[..body.len()], body);
        assert_eq!(bytes[body.len()..], SUM);
        assert_eq!(Identity::decode(&bytes), Ok(Some((7, identity))));
    }

    const SUM: [u8; 8] = [95, 154, 80, 49, 89, 71, 247, 125];
}
