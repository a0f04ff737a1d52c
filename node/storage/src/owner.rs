//! The row inside each environment that says whose it is.
//!
//! ```text
//! 0 magic "QOWN" | 4 format u16 LE | 6 zero u16 | 8 cluster id 16 bytes | 24 node id u64 LE | 32 xxh3-64 of bytes 0..32
//! ```

use std::path::Path;

use twox_hash::XxHash3_64;

use crate::error::Error;
use crate::identity::Identity;

/// Where the row lies in the `meta` table. Other keys of that table are longer.
pub(crate) const OWNER_KEY: &[u8] = b"o";
/// The format of every environment: rows, records and heads.
pub(crate) const FORMAT: u16 = 1;
const MAGIC: &[u8; 4] = b"QOWN";
const BYTES: usize = 40;

/// The row for an environment of `identity`.
pub(crate) fn encode(identity: &Identity) -> [u8; BYTES] {
    let mut row = [0; BYTES];
    row[..4].copy_from_slice(MAGIC);
    row[4..6].copy_from_slice(&FORMAT.to_le_bytes());
    row[8..24].copy_from_slice(&identity.cluster_id);
    row[24..32].copy_from_slice(&identity.node_id.to_le_bytes());
    let sum = XxHash3_64::oneshot(&row[..32]);
    row[32..].copy_from_slice(&sum.to_le_bytes());
    row
}

/// Fails unless `row` was written by `identity` in a format that is understood.
pub(crate) fn check(path: &Path, row: &[u8], identity: &Identity) -> Result<(), Error> {
    let place = || format!("the owner row of {}", path.display());
    if row.len() < 6 || &row[..4] != MAGIC {
        return Err(Error::corrupt(place(), "it is not an owner row"));
    }
    let format = u16::from_le_bytes([row[4], row[5]]);
    if row.len() == BYTES && XxHash3_64::oneshot(&row[..32]).to_le_bytes() != row[32..] {
        return Err(Error::corrupt(place(), "its checksum does not fit"));
    }
    if format > FORMAT {
        return Err(Error::NewerFormat {
            what: path.display().to_string(),
            found: format,
            supported: FORMAT,
        });
    }
    let expected = encode(identity);
    if row.len() == BYTES && row[8..32] == expected[8..32] {
        return Ok(());
    }
    if row.len() != BYTES {
        return Err(Error::corrupt(place(), "it has the wrong length"));
    }
    Err(Error::Foreign { path: path.to_owned(), found: name(&row[8..32]), expected: name(&expected[8..32]) })
}

fn name(cluster_and_node: &[u8]) -> String {
    let cluster: String = cluster_and_node[..16].iter().map(|b| format!("{b:02x}")).collect();
    let node = cluster_and_node[16..].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    format!("node {node} of cluster {cluster}")
}
