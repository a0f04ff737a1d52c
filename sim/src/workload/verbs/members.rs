//! Lists the members. Not in the log: one node answers from what it knows.

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Lists them.
pub(crate) async fn call(cx: &Cx) -> Result<(), Answer> {
    let cluster = cx.client.cluster();
    let work = cluster.members();
    cx.call(Call::Members, work, |members| Answer::Members(members.clone())).await.map(drop)
}
