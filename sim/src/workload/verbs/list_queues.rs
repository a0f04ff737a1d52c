//! Lists the queues. Not in the log, and the client does not say which entry's state it saw: between invocation and
//! return.

use quorate_client::wire::Queue;

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Lists them.
pub(crate) async fn call(cx: &Cx) -> Result<Vec<Queue>, Answer> {
    let queues = cx.client.queues();
    cx.call(Call::ListQueues, queues.list(), |queues| Answer::Listed(queues.clone())).await
}
