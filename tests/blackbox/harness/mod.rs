//! What the tests stand on: clusters of real processes, commands that are run to their end, and patience with a limit.

mod cluster;
mod command;
mod dev;
mod disk;
pub mod identity;
pub mod orders;
pub mod pages;
pub mod ports;
mod process;
mod terminal;
mod tree;

pub use cluster::Cluster;
pub use command::{Command, Output, Running};
pub use dev::Dev;
pub use disk::{SmallVolume, Stall};
pub use process::Node;
pub use terminal::Terminal;
pub use tree::{Page, pages, pages_with};

use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Runtime;

/// The command under test.
pub const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");
/// Between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Clusters share two cores: one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other cluster runs.
pub fn take_turn() -> MutexGuard<'static, ()> {
    TURN.lock()
}

/// Looks again and again until `look` gives something; panics with what was waited for after `patience`.
pub fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for this: {what}");
        thread::sleep(LOOK_INTERVAL);
    }
}

/// A runtime whose tasks go on while the test itself waits for processes.
pub fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime for the test")
}

/// Seconds, to keep call sites short.
pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
