//! Reads what a queue stores. Nothing of it may be out of order.

use quorate_client::{Error, Start};

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Reads some messages from a position on.
pub(crate) async fn call(cx: &Cx, queue: &str, from: u64, count: u64) -> Result<(), Answer> {
    let mut reader = cx.client.queues().read(queue, Start::Position(from), count, false);
    let work = async {
        let mut last = 0;
        while let Some(stored) = reader.next().await {
            let stored = stored?;
            assert!(stored.position > last && stored.position >= from, "{} after {last}", stored.position);
            last = stored.position;
        }
        Ok::<_, Error>(())
    };
    cx.manage(queue, "read", work).await
}
