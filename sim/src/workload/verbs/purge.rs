//! Empties a queue of what nobody holds.

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str) -> Result<(), Answer> {
    cx.manage(queue, "purge", cx.client.queues().purge(queue)).await
}
