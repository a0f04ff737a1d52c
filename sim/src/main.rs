//! x
quorate_sim::interpose!();
fn main() {
    let a: Vec<String> = std::env::args().collect();
    quorate_sim::spike(a[1].parse().unwrap(), a[2].clone().into());
}
