//! Lists keys of the state.

use crate::history::Answer;
use crate::workload::cx::Cx;

/// Lists those that begin with a prefix.
pub(crate) async fn call(cx: &Cx, prefix: &str) -> Result<(), Answer> {
    cx.manage("", "list_state", cx.client.state().list(prefix, "")).await
}
