//! What a node holds in memory until its disk has taken it is bounded, also while the disk does not answer (P12).

use super::report::Report;
use crate::world::{LOG_QUEUE_BYTES, World};

const CHECK: &str = "memory";
/// What may be under way between the question whether the log keeps up and the log, in bytes: the eight entries of the proposer
/// that may be in flight, or, at a follower, the requests that were taken from the stream and not answered yet.
const UNDER_WAY_BYTES: u64 = 8 << 20;

/// Looks at every node that runs.
pub(super) fn tick(world: &World, report: &mut Report) {
    for (node, shard) in world.nodes.iter().filter_map(|node| Some((node, node.shard()?))) {
        let queued = shard.replica.log().queued_bytes();
        if queued > LOG_QUEUE_BYTES + UNDER_WAY_BYTES {
            let what = format!("{} holds {queued} bytes that its disk has not taken", node.name());
            report.safety("P12", CHECK, world.elapsed(), what);
        }
    }
}
