//! Lists the subscriptions of a queue.

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str) -> Result<(), Answer> {
    cx.manage(queue, "list_subscriptions", cx.client.subscriptions(queue).list()).await
}
