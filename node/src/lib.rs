//! The Quorate server and the `quorate` command.
//!
//! ```text
//! client ──gRPC──▶ server/ ──▶ proposal/ ──▶ quorate-raft ──▶ quorate-storage: log (LMDB, fsync)
//!   ▲               admit        batch         openraft         │ committed
//!   │                                                           ▼
//!   └── delivery/ ◀── effects ── quorate-raft: state machine ── quorate-machine: apply() ──▶ state
//! ```
//!
//! A message's way in: [`server`] admits it, [`proposal`] packs it into an entry, `quorate-raft` replicates
//! the entry and applies it. Its way out: the machine assigns it to a consumer, [`delivery`] carries the news
//! to the consumer's stream, [`server`] reads the body and sends it. [`node`] is the only place that puts the
//! parts together; what is not deterministic stands behind [`clock`], [`random`], the transport and the disk
//! runner.

pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
mod disk;
mod http;
mod listen;
mod members;
pub mod node;
pub mod proposal;
pub mod random;
pub mod server;
pub mod shard;

pub use config::Config;
pub use node::{Components, Node, StartError};
