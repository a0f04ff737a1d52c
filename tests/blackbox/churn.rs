//! P12: what passes through leaves no trace: the files of a node follow what is in its queues, not what ever was.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::harness::Cluster;

/// Rounds until the files have the size that the load needs.
const WARM: usize = 4;
const ROUNDS: usize = 12;
const MIB: u64 = 1 << 20;

/// Some hundred thousand messages are published and acknowledged; the log and the state use their pages again.
#[test]
fn files_stop_growing_under_churn() {
    let cluster = Cluster::start(1, &["--log-bytes-max", "8MiB"]);
    let dir = &cluster.nodes()[0].data_dir;
    let used = |environment: &str| {
        let data = fs::metadata(dir.join(environment).join("data.mdb")).expect("an environment");
        data.blocks() * 512 // what the disk gave, whatever the length says
    };
    let (mut sizes, mut messages) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let load = ["--producers", "2", "--consumers", "2", "--window", "128", "--size", "1KiB"];
        // How much gathers between two looks at the log depends on the rate, so that stays.
        let time = ["--seconds", "1", "--warmup", "0s", "--rate", "8000"];
        let report = cluster.json(&[&["bench", "pipeline"], &load[..], &time].concat());
        assert_eq!(report["verified"], true, "{report}");
        messages += report["messages"].as_u64().expect("a figure");
        sizes.push((used("log"), used("state-0")));
    }
    let ((log, state), (log_after, state_after)) = (sizes[WARM - 1], sizes[ROUNDS - 1]);
    let passed = messages * 1024;
    assert!(passed > 2 * log, "{messages} messages were too few to tell: {sizes:?}");
    assert!(log_after <= log + log / 4 + 4 * MIB, "the log grew: {sizes:?}");
    assert!(state_after <= state + state / 4 + 4 * MIB, "the state grew: {sizes:?}");
}
