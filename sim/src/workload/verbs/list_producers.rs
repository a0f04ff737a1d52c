//! Lists the producer sessions.

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Lists them.
pub(crate) async fn call(cx: &Cx) -> Result<(), Answer> {
    cx.manage("", "list_producers", cx.client.queues().producers()).await
}
