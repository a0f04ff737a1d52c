//! What a node holds in memory until its disk has taken it is bounded, also while the disk does not answer (P12).

use super::report::Report;
use crate::world::{LOG_QUEUE_BYTES, World};

const CHECK: &str = "memory";
/// Records that nobody proposes: blank ones and those of members, and what each record has beside its entry.
const SMALL_BYTES: u64 = 32 << 10;

/// Looks at every node that runs. `proposed_most`: what was ever proposed and not answered at once, in bytes.
pub(super) fn tick(world: &World, proposed_most: u64, report: &mut Report) {
    // Between the question whether the log keeps up and the log there is, at a leader, what the proposer has in flight; at a follower
    // what was taken from the stream and not answered, and a request with the entry that overshoots it.
    let under_way = LOG_QUEUE_BYTES / 4 + LOG_QUEUE_BYTES / 8 + 2 * proposed_most + SMALL_BYTES;
    for (node, shard) in world.nodes.iter().filter_map(|node| Some((node, node.shard()?))) {
        let queued = shard.replica.log().queued_bytes();
        if queued > LOG_QUEUE_BYTES + under_way {
            let what = format!("{} holds {queued} bytes that its disk has not taken", node.name());
            report.safety("P12", CHECK, world.elapsed(), what);
        }
    }
}
