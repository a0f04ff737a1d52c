//! Black-box tests: real `quorate` processes, real files, real signals, as a user would see them.
//!
//! `order`, `failover`, `recovery` and `quorum` break things while work is going on; `refusals` and `directories` hand in
//! what must be refused; `disks` vanish, run full and hang; `members` come and go, and `versions` with them; `churn` wears the files out, `bounds` and `wiped` the memory, `hostile` both, and `limits` what one request may cost; `sessions` and `requests` are programs with the client
//! crate, and `workers` and `keep_going` with its worker; `cut_off` is one behind a proxy that stops; `foreign` is a client in Python; `commands` pins what the verbs do, `shapes`
//! their JSON, and `help`, `shells`, `watch`, `mistakes` and `colours` what a person at a terminal meets; `architecture` holds the
//! house rules; `readme`, `features` and `guide` run those pages as written, and `examples` the programs that they point to.
//! Nothing here sleeps for luck: everything waits for a condition, with a deadline.

// These tests stand outside the nodes: nothing replays them, so the real clock and real threads are theirs to use.
#![allow(clippy::disallowed_methods)]

mod architecture;
mod bounds;
mod churn;
mod colours;
mod commands;
mod cut_off;
mod directories;
mod disks;
mod docs;
mod examples;
mod failover;
mod features;
mod floors;
mod foreign;
mod guide;
mod harness;
mod help;
mod hostile;
mod keep_going;
mod limits;
mod members;
mod mistakes;
mod names;
mod order;
mod quorum;
mod readme;
mod recovery;
mod refusals;
mod requests;
mod scene;
mod second_edge;
mod sessions;
mod shapes;
mod shells;
mod versions;
mod watch;
mod wiped;
mod workers;
