//! Removes a member that is not there, which must be refused. Members that are there are the faults' to remove, since
//! somebody has to bring them back.

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Removes it.
pub(crate) async fn call(cx: &Cx, name: &str) -> Result<(), Answer> {
    let cluster = cx.client.cluster();
    let work = cluster.remove(name);
    cx.call(Call::RemoveMember { name: name.to_owned() }, work, |()| Answer::Done).await
}
