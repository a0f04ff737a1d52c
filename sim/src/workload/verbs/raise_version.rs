//! Asks for the version that only the next program reads: refused until all run it.

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;
use crate::world::NEXT;

/// Asks for it.
pub(crate) async fn call(cx: &Cx) -> Result<(), Answer> {
    let cluster = cx.client.cluster();
    let work = cluster.raise_version(Some(NEXT.writes));
    cx.call(Call::RaiseVersion, work, |_| Answer::Done).await.map(drop)
}
