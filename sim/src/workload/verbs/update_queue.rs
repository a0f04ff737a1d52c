//! Changes a queue's time to live.

use quorate_client::wire::QueueSettings;

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str, ttl_ms: u64) -> Result<(), Answer> {
    let queues = cx.client.queues();
    let work = async {
        let shown = queues.show(queue).await?.queue.unwrap_or_default();
        let settings = QueueSettings { ttl_ms, ..shown.settings.unwrap_or_default() };
        queues.update(queue, settings, shown.revision).await
    };
    cx.manage(queue, "update_queue", work).await
}
