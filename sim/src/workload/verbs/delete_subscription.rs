//! Deletes a subscription.

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str, name: &str) -> Result<(), Answer> {
    cx.manage(queue, "delete_subscription", cx.client.subscriptions(queue).delete(name)).await
}
