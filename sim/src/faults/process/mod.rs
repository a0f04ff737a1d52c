//! What happens to processes and their hosts.

mod crash;
mod crash_all;
mod crash_at_start;
mod crash_installing;
mod depose;
mod pause;
mod pause_client;
mod remove;
mod rolling;

pub(super) use crash::Crash;
pub(super) use crash_all::CrashAll;
pub(super) use crash_at_start::CrashAtStart;
pub(super) use crash_installing::CrashInstalling;
pub(super) use depose::Depose;
pub(super) use pause::Pause;
pub(super) use pause_client::PauseClient;
pub(super) use remove::Remove;
pub(super) use rolling::Rolling;

use super::Site;
use crate::disk::{Failure, Loss};

/// Lets a node die at a disk operation, so many from now.
fn fail_at(site: &Site<'_>, node: usize, ops: u64, after: bool, loss: Loss) {
    let medium = site.world.nodes[node].medium();
    let mut medium = medium.borrow_mut();
    let op = medium.ops() + ops;
    medium.trouble.failure = Some(Failure { op, after, loss });
}
