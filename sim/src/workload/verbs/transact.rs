//! Carries out a transaction. Found in the log by the number in a key that it writes, which no other transaction has.

use std::time::Duration;

use quorate_client::Transaction;

use crate::history::{Answer, Call};
use crate::workload::cx::Cx;

/// The key goes by itself: the state must not grow with the run.
const KEY_TTL: Duration = Duration::from_secs(3);

/// Has it happen, with a key of its own.
pub(crate) async fn call(cx: &Cx, transaction: Transaction) -> Result<(), Answer> {
    let number = cx.shared.next_body();
    let work = transaction.put_for(&format!("t-{number}"), "", Some(KEY_TTL)).commit();
    let done = |committed: &quorate_client::Committed| Answer::Transacted {
        version: committed.versions.last().copied().unwrap_or_default(),
    };
    cx.call(Call::Transact { number }, work, done).await.map(drop)
}
