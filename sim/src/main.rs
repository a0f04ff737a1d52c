//! The `quorate-sim` command.

quorate_sim::interpose!();

fn main() {}
