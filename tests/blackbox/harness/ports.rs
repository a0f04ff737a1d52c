//! Ports that nobody listens on.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that the system draws outgoing ports from: a node that is down must find its port free when it comes
/// back, and a peer that dials it meanwhile must not meet itself there.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// How many ports this process has looked at.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// A port that is free, and that no other call in this process gets.
pub fn free() -> u16 {
    loop {
        let port = next(1);
        if is_free(port) {
            return port;
        }
    }
}

/// The first of `count` ports in a row that are free.
pub fn free_row(count: u16) -> u16 {
    loop {
        let first = next(count);
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}

/// Test processes that run at the same time start far from each other.
fn next(count: u16) -> u16 {
    let start = u16::try_from(std::process::id() % 200).expect("less than 200") * 100;
    let looked_at = LOOKED_AT.fetch_add(count, Ordering::Relaxed);
    FIRST + start.wrapping_add(looked_at) % (COUNT - count)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
