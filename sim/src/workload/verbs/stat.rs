//! Counts a queue's messages. Not in the log: its answer names the entry whose state it saw.

use quorate_client::wire::StatResponse;

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Counts them.
pub(crate) async fn call(cx: &Cx, queue: &str) -> Result<StatResponse, Answer> {
    let queues = cx.client.queues();
    let work = queues.stat(queue, "");
    cx.call(Call::Stat { queue: queue.to_owned() }, work, |stat| Answer::Stat(*stat)).await
}
