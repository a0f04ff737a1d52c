//! Moves a subscription to the end of its queue.

use quorate_client::Start;

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str, name: &str) -> Result<(), Answer> {
    let subs = cx.client.subscriptions(queue);
    cx.manage(queue, "seek", subs.seek(name, Start::Latest)).await
}
