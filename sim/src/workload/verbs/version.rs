//! Asks which versions the members read. Not in the log: one node answers from what it knows.

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Asks for them.
pub(crate) async fn call(cx: &Cx) -> Result<(), Answer> {
    let cluster = cx.client.cluster();
    let work = cluster.version();
    cx.call(Call::Version, work, |_| Answer::Done).await.map(drop)
}
