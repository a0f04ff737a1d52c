//! What goes wrong with disks.

mod at_rest;
mod fail_sync;
mod full;
mod lies;
mod log_stalls;
mod lost;
mod rot;
mod slow_disk;

pub(super) use at_rest::AtRest;
pub(super) use fail_sync::FailSync;
pub(super) use full::Full;
pub(super) use lies::Lies;
pub(super) use log_stalls::LogStalls;
pub(super) use lost::Lost;
pub(super) use rot::Rot;
pub(super) use slow_disk::SlowDisk;

use std::ops::Range;
use std::path::Path;

use super::Site;
use crate::disk::pages;
use crate::plan::Victim;
use crate::seed::Rng;

/// The files of a victim, below the data directory.
fn paths(victim: Victim) -> &'static [&'static str] {
    match victim {
        Victim::Log => &["log/data.mdb"],
        Victim::State => &["state-0/data.mdb"],
        Victim::OneIdentity => &["identity.a"],
        Victim::BothIdentities => &["identity.a", "identity.b"],
    }
}

/// The parts of a file that damage may hit: of an LMDB file its values.
fn parts(path: &Path, file: &[u8]) -> Vec<Range<usize>> {
    if path.extension().is_some_and(|e| e == "mdb") {
        return pages::values(file);
    }
    std::iter::once(0..file.len()).filter(|part| !part.is_empty()).collect()
}

/// Flips a bit in one of the parts. Where, and what the byte is now.
fn flip(file: &mut [u8], parts: &[Range<usize>], rng: &mut Rng) -> Option<(usize, u8)> {
    let full: Vec<&Range<usize>> = parts.iter().filter(|part| !part.is_empty()).collect();
    if full.is_empty() {
        return None;
    }
    let part = (*rng.pick(&full)).clone();
    let at = part.start + rng.below(part.len() as u64) as usize;
    let byte = file.get_mut(at)?;
    *byte ^= 1 << rng.below(8);
    Some((at, *byte))
}
