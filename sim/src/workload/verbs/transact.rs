//! Carries out a transaction. Found in the log by the number in a key that it writes, which no other transaction has.

use std::time::Duration;

use quorate_client::Transaction;

use super::Delivery;
use crate::history::{Acked, Answer, Call, Sent};
use crate::seed::Rng;
use crate::workload::body;
use crate::workload::cx::Cx;

/// The key goes by itself: the state must not grow with the run.
const KEY_TTL: Duration = Duration::from_secs(3);
/// Length of the bodies.
const BYTES: (u64, u64) = (16, 100);

/// Has it happen, with a key of its own.
pub(crate) async fn call(cx: &Cx, transaction: Transaction) -> Result<(), Answer> {
    commit(cx, transaction, Vec::new(), Vec::new()).await
}

/// The same, and the history says what is in it: these leases acknowledged, and a message for each of these queues.
pub(crate) async fn whole(
    cx: &Cx,
    rng: &mut Rng,
    mut transaction: Transaction,
    hand: &[(&str, &Delivery)],
    queues: &[&str],
) -> Result<(), Answer> {
    let (mut acks, mut sends) = (Vec::new(), Vec::new());
    for (queue, delivery) in hand {
        transaction = transaction.ack(delivery);
        let (position, token) = (delivery.position, delivery.token);
        acks.push(Acked { queue: (*queue).to_owned(), position, token });
    }
    for queue in queues {
        let (number, bytes) = (cx.shared.next_body(), rng.magnitude(BYTES.0, BYTES.1) as usize);
        let message = body::message(queue, number, bytes);
        transaction = transaction.publish(&cx.client.raw_queue(*queue), message);
        sends.push(Sent { queue: (*queue).to_owned(), body: number, bytes });
    }
    commit(cx, transaction, acks, sends).await
}

async fn commit(cx: &Cx, transaction: Transaction, acks: Vec<Acked>, sends: Vec<Sent>) -> Result<(), Answer> {
    let number = cx.shared.next_body();
    let work = transaction.put_for(&format!("t-{number}"), "", Some(KEY_TTL)).commit();
    let followed = !sends.is_empty();
    let done = |committed: &quorate_client::Committed| Answer::Transacted {
        version: committed.versions.last().copied().unwrap_or_default(),
        positions: match followed {
            true => committed.receipts().map(|receipt| receipt.position).collect(),
            false => Vec::new(),
        },
    };
    cx.call(Call::Transact { number, acks, sends }, work, done).await.map(drop)
}
