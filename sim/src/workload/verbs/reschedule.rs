//! Cancels a delayed message, or moves its time.

use std::time::{Duration, UNIX_EPOCH};

use quorate_client::Which;

use crate::history::Answer;
use crate::interpose;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str, message: Which, in_ms: Option<u64>) -> Result<(), Answer> {
    let queues = cx.client.queues();
    let work = async {
        match in_ms {
            Some(in_ms) => {
                let at = UNIX_EPOCH
                    + Duration::from_secs(interpose::EPOCH_S)
                    + interpose::elapsed()
                    + Duration::from_millis(in_ms);
                queues.reschedule(queue, message, at).await
            }
            None => queues.cancel(queue, message).await,
        }
    };
    cx.manage(queue, "reschedule", work).await
}
