//! Asks why a subscription hands out nothing, or no more.

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Asks.
pub(crate) async fn call(cx: &Cx, queue: &str, name: &str) -> Result<(), Answer> {
    cx.manage(queue, "explain", cx.client.subscriptions(queue).explain(name)).await
}
