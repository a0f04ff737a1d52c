//! Looks at an LMDB file before LMDB does. LMDB has no checksums: it maps a shortened file and dies of SIGBUS, takes an
//! empty one for a new one, and steps back one transaction in silence when a meta page is bad.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::Error;

const PAGE_HEADER: usize = 16;
const META_BYTES: usize = PAGE_HEADER + 136;
const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
const PAGE_IS_META: u16 = 0x08;

struct Meta {
    page_bytes: u32,
    last_page: u64,
    txn: u64,
}

/// The bytes that the newest transaction of `file` claims. Fails with [`Error::Corrupt`] if the file cannot be one that
/// was committed to at least once and is whole.
pub(crate) fn check(path: &Path) -> Result<u64, Error> {
    let file = File::open(path).map_err(|e| Error::io("opening", path, &e))?;
    let length = file.metadata().map_err(|e| Error::io("looking at", path, &e))?.len();
    let bad = |what: String| Error::corrupt(path.display().to_string(), what);
    let first = read_meta(&file, path, 0)?;
    if !first.page_bytes.is_power_of_two() || !(512..=65536).contains(&first.page_bytes) {
        return Err(bad(format!("a page size of {} bytes", first.page_bytes)));
    }
    let second = read_meta(&file, path, u64::from(first.page_bytes))?;
    if second.page_bytes != first.page_bytes {
        return Err(bad("its two meta pages disagree about the page size".into()));
    }
    // Each commit writes one meta page in turn, and an environment gets its name only after its first commit.
    if first.txn.abs_diff(second.txn) != 1 {
        return Err(bad(format!("its meta pages are of transactions {} and {}", first.txn, second.txn)));
    }
    let newest = if first.txn > second.txn { &first } else { &second };
    let claimed = newest.last_page.checked_add(1).and_then(|n| n.checked_mul(u64::from(first.page_bytes)));
    match claimed {
        Some(claimed) if claimed <= length => Ok(claimed),
        Some(claimed) => Err(bad(format!("it has {length} bytes and its last transaction used {claimed}"))),
        None => Err(bad("its last page is out of any range".into())),
    }
}

fn read_meta(file: &File, path: &Path, at: u64) -> Result<Meta, Error> {
    let bad =
        |what: &str| Error::corrupt(path.display().to_string(), format!("meta page at byte {at}: {what}"));
    let mut page = [0u8; META_BYTES];
    match file.read_exact_at(&mut page, at) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(bad("the file ends before it"));
        }
        Err(e) => return Err(Error::io("reading", path, &e)),
    }
    let u16_at = |i: usize| u16::from_ne_bytes([page[i], page[i + 1]]);
    let u32_at = |i: usize| u32::from(u16_at(i)) | u32::from(u16_at(i + 2)) << 16;
    let u64_at = |i: usize| u64::from(u32_at(i)) | u64::from(u32_at(i + 4)) << 32;
    if u16_at(10) & PAGE_IS_META == 0 || u32_at(PAGE_HEADER) != MAGIC {
        return Err(bad("not a meta page of an environment"));
    }
    if u32_at(PAGE_HEADER + 4) != VERSION {
        return Err(bad("a version of LMDB's format that is not 1"));
    }
    Ok(Meta {
        page_bytes: u32_at(PAGE_HEADER + 24),
        last_page: u64_at(PAGE_HEADER + 120),
        txn: u64_at(PAGE_HEADER + 128),
    })
}
