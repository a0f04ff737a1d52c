//! A chunk of a snapshot: rows in key order. Little-endian:
//!
//! ```text
//! 0 rows u32 | rows: key length u16, key, value length u32, value | xxh3-64 of all before
//! ```

use twox_hash::XxHash3_64;

use crate::error::Error;

/// A chunk that is being filled.
pub(crate) struct Filling {
    bytes: Vec<u8>,
    rows: u32,
}

impl Filling {
    pub fn new(bytes: usize) -> Filling {
        let mut filling = Filling { bytes: Vec::with_capacity(bytes), rows: 0 };
        filling.bytes.extend_from_slice(&[0; 4]);
        filling
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
        self.rows += 1;
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn finish(mut self) -> (Vec<u8>, u32) {
        self.bytes[..4].copy_from_slice(&self.rows.to_le_bytes());
        let sum = XxHash3_64::oneshot(&self.bytes);
        self.bytes.extend_from_slice(&sum.to_le_bytes());
        (self.bytes, self.rows)
    }
}

/// Calls `each` for every row of a whole, undamaged chunk; returns how many there are.
pub(crate) fn rows(
    shard: u32,
    chunk: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<u32, Error> {
    let bad = |what: &str| Error::BadChunk { shard, what: what.into() };
    let Some((body, sum)) = chunk.split_last_chunk::<8>() else { return Err(bad("it is too short")) };
    if XxHash3_64::oneshot(body).to_le_bytes() != *sum {
        return Err(bad("the checksum does not fit"));
    }
    let cut = || bad("a row ends behind its end");
    let (count, mut rest) = body.split_first_chunk::<4>().ok_or_else(cut)?;
    let count = u32::from_le_bytes(*count);
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let (key, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*len))).ok_or_else(cut)?;
        let (len, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
        let (value, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(cut)?;
        each(key, value)?;
        rest = after;
    }
    if rest.is_empty() { Ok(count) } else { Err(bad("there is more than its rows")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned: a node of another version installs it.
    #[test]
    fn the_bytes_of_a_chunk() {
        let mut filling = Filling::new(0);
        filling.push(b"key", b"value");
        filling.push(&[7, 0], b"");
        let (bytes, count) = filling.finish();
        let body =
            [&[2, 0, 0, 0, 3, 0][..], b"key", &[5, 0, 0, 0], b"value", &[2, 0, 7, 0, 0, 0, 0, 0]].concat();
        assert_eq!((&bytes[..body.len()], count), (&body[..], 2));
        assert_eq!(bytes[body.len()..], SUM);
        let mut found = Vec::new();
        let each = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(())
        };
        assert_eq!(rows(0, &bytes, each).expect("it is whole"), 2);
        assert_eq!(found, [(b"key".to_vec(), b"value".to_vec()), (vec![7, 0], Vec::new())]);
    }

    const SUM: [u8; 8] = [3, 203, 154, 189, 208, 77, 110, 195];
}
