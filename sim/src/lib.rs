//! Deterministic simulation of Quorate: real nodes and real clients in one thread, with their network, disks and clocks
//! under one seed.

#[cfg(not(tokio_unstable))]
compile_error!(
    "quorate-sim needs `--cfg tokio_unstable`, which .cargo/config.toml sets: a RUSTFLAGS variable overrides it"
);

mod check;
mod cli;
#[doc(hidden)]
pub mod disk;
mod explore;
#[doc(hidden)]
pub mod faults;
pub mod history;
pub mod interpose;
mod plan;
mod probe;
mod run;
mod seed;
mod simulation;
mod summary;
mod trace;
mod violation;
mod workload;
mod world;

pub use cli::main as cli;
pub use explore::explore;
pub use plan::Kind;
pub use run::{Finished, RunOptions, run};
pub use seed::Rng;
pub use simulation::{Context, Failure, Simulation};
pub use summary::{Counts, Figures, Summary, Verdict};
pub use violation::{Sort, Violation};
#[doc(hidden)]
pub use workload::trial;

/// A directory for the disks of a simulation, in memory if there is such a place. Removed when it is dropped.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    let memory = std::path::Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("quorate-sim-");
    if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }
}
