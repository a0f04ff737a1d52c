//! Attaches a consumer. Found in the log by the consumer's name for people, `op` and the number of the call.

use std::time::Duration;

use super::Consumer;
use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Attaches to a queue's only subscription.
pub(crate) async fn call(
    cx: &Cx,
    queue: &str,
    credit: u32,
    session_timeout_ms: u64,
) -> Result<Consumer, Answer> {
    let op = cx.invoke(Call::Attach { queue: queue.to_owned(), credit, session_timeout_ms });
    let attaching = cx
        .client
        .raw_queue(queue)
        .consumer()
        .credit(credit)
        .session_timeout(Duration::from_millis(session_timeout_ms))
        .name(format!("op{}", op.0))
        .attach();
    let result = cx.bounded(attaching).await;
    cx.complete(op, result.as_ref().map_or_else(Clone::clone, |_| Answer::Done));
    result
}
