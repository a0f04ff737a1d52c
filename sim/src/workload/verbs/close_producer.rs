//! Ends a producer session. Found in the log by the session that was opened last under its name.

use super::open_producer::Open;
use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Waits for what was handed in, then ends it.
pub(crate) async fn call(cx: &Cx, open: Open) -> Result<(), Answer> {
    let session = open.producer.session().to_owned();
    cx.call(Call::CloseProducer { session }, open.producer.close(), |()| Answer::Done).await
}
