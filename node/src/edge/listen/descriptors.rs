//! How many files and connections a process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that are not for clients: connections of peers and of health, files, maps and pipes.
pub const RESERVED: u64 = (PEER_CONNECTIONS_MAX + HTTP_CONNECTIONS_MAX) as u64 + 128;
/// Most connections of peers. Each member has up to six.
pub const PEER_CONNECTIONS_MAX: usize = 192;
/// Most connections for health over HTTP.
pub const HTTP_CONNECTIONS_MAX: usize = 64;
/// With fewer, a node says that it has few.
const FEW: u64 = 4096;

// A common bound is 1024, and clients need some of them.
const _: () = assert!(RESERVED < 512);

/// Raises the bound on descriptors as far as the system lets, and returns it.
pub fn raise() -> u64 {
    let mut limits = getrlimit(Resource::Nofile);
    let (before, hard) = (limits.current, limits.maximum);
    limits.current = hard;
    if before != hard
        && let Err(e) = setrlimit(Resource::Nofile, limits)
    {
        tracing::warn!("the bound on open files was not raised: {e}");
    }
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if now < FEW {
        tracing::warn!(
            open_files_max = now,
            "few files and connections may be open; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
    now
}

/// How many connections of clients each of `nodes` in this process may have, if it is to have `wanted`.
pub fn for_clients(wanted: usize, descriptors: u64, nodes: u64) -> usize {
    let each = (descriptors / nodes.max(1)).saturating_sub(RESERVED);
    wanted.min(usize::try_from(each).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_is_not_reserved() {
        assert_eq!(for_clients(4096, 1024, 1), 1024 - RESERVED as usize);
        assert_eq!(for_clients(4096, 1 << 20, 3), 4096);
        assert_eq!(for_clients(4096, 100, 1), 1);
    }

    #[test]
    fn the_soft_bound_becomes_the_hard_one() {
        let raised = raise();
        let limits = getrlimit(Resource::Nofile);
        assert_eq!(Some(raised), limits.current);
        assert_eq!(limits.current, limits.maximum);
    }
}
