//! The model of a disk against a naive one, on real files.

quorate_sim::interpose!();

const SEEDS: u64 = 600;

fn main() {
    let dir = tempfile::tempdir().expect("a directory for the disks");
    quorate_sim::interpose::arm(1).expect("this program defines the symbols");
    let mut acts = 0;
    for seed in 0..SEEDS {
        acts += quorate_sim::disk::oracle::against_naive(seed, dir.path()).unwrap_or_else(|e| panic!("{e}"));
    }
    quorate_sim::disk::oracle::failures(dir.path()).unwrap_or_else(|e| panic!("{e}"));
    println!("{SEEDS} disks agree after {acts} operations");
}
