//! Deletes a queue. Found in the log by its name, among those between its invocation and its return.

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Deletes it.
pub(crate) async fn call(cx: &Cx, queue: &str) -> Result<(), Answer> {
    let queues = cx.client.queues();
    cx.call(Call::DeleteQueue { queue: queue.to_owned() }, queues.delete(queue), |()| Answer::Done).await
}
