//! The `quorate-sim` command.

// The program's clock, randomness and file writes come from the simulation.
quorate_sim::interpose!();

fn main() -> std::process::ExitCode {
    quorate_sim::cli()
}
