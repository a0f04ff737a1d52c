//! Pauses or resumes a subscription.

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str, name: &str, paused: bool) -> Result<(), Answer> {
    let subs = cx.client.subscriptions(queue);
    let work = async { if paused { subs.pause(name).await } else { subs.resume(name).await } };
    cx.manage(queue, "pause", work).await
}
