//! Redrives or discards parked messages.

use quorate_client::Selector;

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(
    cx: &Cx,
    queue: &str,
    name: &str,
    which: &Selector,
    how: (bool, u32),
) -> Result<(), Answer> {
    let subs = cx.client.subscriptions(queue);
    let (redrive, per_second) = how;
    let work = async {
        match redrive {
            true => subs.redrive(name, which, per_second).await,
            false => subs.discard(name, which, per_second).await,
        }
    };
    cx.manage(queue, "unpark", work).await
}
