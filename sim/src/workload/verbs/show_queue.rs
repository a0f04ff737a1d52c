//! Shows a queue. Not in the log: the figures in its answer name the entry whose state it saw.

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Shows it.
pub(crate) async fn call(cx: &Cx, queue: &str) -> Result<(), Answer> {
    let queues = cx.client.queues();
    let work = queues.show(queue);
    let call = Call::ShowQueue { queue: queue.to_owned() };
    cx.call(call, work, |shown| Answer::Shown(Box::new(shown.clone()))).await.map(drop)
}
