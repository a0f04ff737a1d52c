//! The replicated state machine: a pure function from a store and an entry of the log to replies and effects.
//!
//! **Determinism.** Every node applies the same entries in the same order and must end with the same rows,
//! byte for byte (P10). So nothing here reads a clock (time is a number in the entry), draws randomness,
//! iterates a hash map, uses floats, or does I/O other than through the [`store::Store`] it is given; and
//! nothing is kept in memory between two entries. Effects and replies follow from the rows and the entry alone.
//!
//! **Totality.** Whatever the bytes of an entry are, [`apply`] answers: a panic here would be a panic of every
//! node. What this program cannot read is never skipped: it is an error of its own ([`versions`]) and changes nothing.
//!
//! **Work per run.** Positions that share a fate share a row: a publish is one chunk, a lease of consecutive
//! messages is one run. No path from publish to acknowledgement does work for each message, unless the message
//! asks for it with a key, a time or a priority.
//!
//! Where to look: [`tables`] is the schema; [`lawful()`] says what a command may say; `ops/` has one file for each verb; `subs/` is what happens to messages
//! inside a subscription; [`read`] has the questions; [`check`] states every invariant.

mod apply;
pub mod check;
pub mod command;
pub mod digest;
pub mod effect;
mod foresee;
mod former;
mod ids;
mod lawful;
pub mod limits;
pub mod memory;
pub mod message;
mod names;
mod ops;
pub mod pattern;
pub mod read;
pub mod reply;
mod routes;
mod settings;
pub mod store;
mod subs;
pub mod tables;
mod tx;
pub mod versions;
pub mod weight;
pub mod work;

pub use apply::{Applied, apply, apply_as, apply_within};
pub use foresee::{foresee, is_limited};
pub use lawful::lawful;
pub use memory::MemoryStore;
pub use versions::{ApplyError, Unreadable, Versions};

/// The newest version of commands and rows that this crate reads and writes; [`Versions::OWN`] has all of them.
pub const FORMAT_VERSION: u32 = 1;
