//! Deterministic simulation of Quorate: real nodes and real clients in one thread, with their network, disks and clocks
//! under one seed.

#[cfg(not(tokio_unstable))]
compile_error!(
    "quorate-sim needs `--cfg tokio_unstable`, which .cargo/config.toml sets: a RUSTFLAGS variable overrides it"
);

mod check;
#[doc(hidden)]
pub mod disk;
#[doc(hidden)]
pub mod faults;
pub mod history;
pub mod interpose;
mod plan;
mod seed;
mod violation;
mod workload;
mod world;

pub use seed::Rng;
pub use violation::{Sort, Violation};
#[doc(hidden)]
pub use workload::trial;
