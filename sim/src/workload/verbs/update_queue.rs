//! Changes a queue's time to live, and what it retains.

use quorate_client::Retain;
use quorate_client::wire::{self, QueueSettings};

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str, ttl_ms: u64, retain: Option<Retain>) -> Result<(), Answer> {
    let queues = cx.client.queues();
    let work = async {
        let shown = queues.show(queue).await?.queue.unwrap_or_default();
        let mut settings = QueueSettings { ttl_ms, ..shown.settings.unwrap_or_default() };
        if let Some(retain) = retain {
            // Mostly of the kind that it is: another is refused.
            let latest_per_key = settings.retain.unwrap_or_default().latest_per_key;
            let other = retain.latest_per_key && retain.until_done;
            settings.retain =
                Some(wire::Retain { latest_per_key: latest_per_key != other, ..retain.to_wire()? });
        }
        queues.update(queue, settings, shown.revision).await
    };
    cx.manage(queue, "update_queue", work).await
}
