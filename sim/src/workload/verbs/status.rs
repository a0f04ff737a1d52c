//! Asks every replica for its state. Not in the log: each answers for itself, at its own time.

use quorate_client::wire::ReplicaStatus;

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Asks them.
pub(crate) async fn call(cx: &Cx) -> Result<(), Answer> {
    let cluster = cx.client.cluster();
    let work = cluster.status();
    let answer = |replicas: &Vec<ReplicaStatus>| Answer::Status(replicas.clone());
    cx.call(Call::Status, work, answer).await.map(drop)
}
