//! The Quorate server and the `quorate` command.
//!
//! ```text
//! client ──▶ edge/ ──▶ service/ ──▶ shards/proposal/ ──▶ quorate-raft ──▶ quorate-storage: log (LMDB, fsync)
//!   ▲        gRPC      admit        batch                openraft         │ committed
//!   │                                                                     ▼
//!   └─ edge/ ◀─ service/ ◀─ shards/delivery/ ◀─ effects ─ state machine ─ quorate-machine: apply() ──▶ state
//! ```
//!
//! A message's way in: an edge parses it, [`service`] admits it, [`shards::proposal`] packs it into an entry, `quorate-raft`
//! replicates the entry and applies it. Its way out: the machine assigns it to a consumer, [`shards::delivery`] carries the news to
//! the consumer's stream, [`service`] reads the body, and the edge sends it. [`node`] is the only place that puts the parts
//! together; what is not deterministic stands behind [`clock`], [`random`], the transport and the disk runner.

pub mod cli;
pub mod clock;
mod cluster;
pub mod config;
mod disk;
mod edge;
pub mod node;
pub mod random;
pub mod service;
pub mod shards;

pub use config::Config;
pub use node::{Components, Node, StartError};
