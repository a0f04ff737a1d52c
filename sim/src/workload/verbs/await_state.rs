//! Waits for a key of the state to change.

use std::time::Duration;

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Waits, and not for long.
pub(crate) async fn call(cx: &Cx, key: &str, version: u64, at_most: Duration) -> Result<(), Answer> {
    cx.manage("", "await_state", cx.client.state().wait(key, version, at_most)).await
}
