//! Reads a key of the state. Not in the log: its answer names the entry whose state it saw.

use quorate_client::Snapshot;

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Reads it.
pub(crate) async fn call(cx: &Cx, key: &str) -> Result<Snapshot, Answer> {
    let state = cx.client.state();
    let keys = [key];
    let work = state.get_all(&keys);
    cx.call(Call::GetState { key: key.to_owned() }, work, |seen| Answer::State(seen.clone())).await
}
