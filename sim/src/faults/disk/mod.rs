//! What goes wrong with disks.

mod at_rest;
mod fail_sync;
mod full;
mod gone;
mod hang;
mod lies;
mod log_stalls;
mod lost;
mod rot;
mod scarce;
mod slow_disk;

pub(super) use at_rest::AtRest;
pub(super) use fail_sync::FailSync;
pub(super) use full::Full;
pub(super) use gone::Gone;
pub(super) use hang::Hang;
pub(super) use lies::Lies;
pub(super) use log_stalls::LogStalls;
pub(super) use lost::Lost;
pub(super) use rot::Rot;
pub(super) use scarce::Scarce;
pub(super) use slow_disk::SlowDisk;

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Site;
use crate::disk::pages;
use crate::plan::Victim;
use crate::seed::Rng;

/// More snapshots than this no node installs in a run.
const GENERATIONS_MAX: u64 = 4096;

/// The files of a victim, below the data directory: of the generations of a state the one that counts.
fn paths(victim: Victim, exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    match victim {
        Victim::Log => vec!["log/data.mdb".into()],
        Victim::State => {
            let later = (1..GENERATIONS_MAX).rev().map(|number| format!("state-0.{number}/data.mdb"));
            let mut all = later.chain(["state-0/data.mdb".into()]).map(PathBuf::from);
            all.find(|path| exists(path)).into_iter().collect()
        }
        Victim::OneIdentity => vec!["identity.a".into()],
        Victim::BothIdentities => vec!["identity.a".into(), "identity.b".into()],
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
