//! The naive model of the replicated state machine: a struct for each message in each subscription, vectors and loops. It shares
//! no code with the machine but the types of its interface, and says each rule of `docs/semantics.md` in the plainest way.
//!
//! [`naive::Naive`] answers commands; [`view`] brings its answers and the machine's into one form; [`compare`] holds one
//! against the other. The machine's tests feed both with random commands, the simulator with a run's committed log.
//!
//! Bounds that only keep the machine's work small are not modelled: how many deadlines and rows one tick carries
//! out, how many queues, producers and consumers there may be, how many messages a subscription looks at in an entry, how many
//! batches leave in one, and that an
//! unpark of many messages, or of so many a second, becomes a job.

mod assign;
pub mod compare;
mod fields;
mod filter;
mod lawful;
pub mod naive;
mod order;
mod parked;
mod publish;
mod queues;
mod retain;
mod sessions;
mod settle;
mod subs;
mod time;
mod transact;
mod verbs;
pub mod view;
