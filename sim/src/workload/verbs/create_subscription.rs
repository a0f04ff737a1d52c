//! Adds a subscription. Judged by the replay of the log.

use quorate_client::{Start, SubscriptionSettings};

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(
    cx: &Cx,
    queue: &str,
    name: &str,
    settings: &SubscriptionSettings,
) -> Result<(), Answer> {
    let subs = cx.client.subscriptions(queue);
    // What others are done with may be gone, or about to go: where the earliest message is, depends on a tick.
    let start = Start::Latest;
    cx.manage(queue, "create_subscription", subs.create(name, settings, start)).await
}
