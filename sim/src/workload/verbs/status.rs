//! Asks every replica for its state. Not in the log: each answers for itself, at its own time.

use quorate_client::wire::ReplicaStatus;

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// Asks them. What the real disk has left is left out: it is another one in every run.
pub(crate) async fn call(cx: &Cx) -> Result<(), Answer> {
    let cluster = cx.client.cluster();
    let work = cluster.status();
    let answer = |replicas: &Vec<ReplicaStatus>| {
        let without = |replica: &ReplicaStatus| ReplicaStatus { disk_free: 0, ..replica.clone() };
        Answer::Status(replicas.iter().map(without).collect())
    };
    cx.call(Call::Status, work, answer).await.map(drop)
}
