//! Ends a consumer's session. Found in the log by the session that its attach made.

use super::Consumer;
use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Waits for the settles, then ends it.
pub(crate) async fn call(cx: &Cx, queue: &str, consumer: Consumer) -> Result<(), Answer> {
    cx.call(Call::Detach { queue: queue.to_owned() }, consumer.detach(), |()| Answer::Done).await
}
