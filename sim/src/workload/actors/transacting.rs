//! Transactions on the queues of [`super::everything`]: leases acknowledged, messages published, keys that several write, under
//! requirements that hold or do not.

use std::time::Duration;

use bytes::Bytes;
use quorate_client::Message;

use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::verbs::{Delivery, await_state, get_state, list_state, transact};

/// Keys that everybody writes.
const SHARED: [&str; 3] = ["shared/0", "shared/1", "shared/2"];

/// A transaction, which acknowledges these if it is carried out.
pub(super) async fn run(cx: &Cx, rng: &mut Rng, queue: &str, hand: &[Delivery]) {
    let mut transaction = cx.client.transaction();
    for delivery in hand {
        transaction = transaction.ack(delivery);
    }
    if rng.percent(50) {
        let key = *rng.pick(&SHARED);
        let Ok(seen) = get_state::call(cx, key).await else { return };
        let version = seen.entries.first().map_or(0, |entry| entry.version);
        transaction = match rng.below(5) {
            0 => transaction.delete(key),
            1 => {
                transaction.put_for(key, "for a while", Some(Duration::from_millis(rng.magnitude(10, 3000))))
            }
            // Reads, thinks, writes: lost if somebody wrote in between.
            _ => transaction.require_version(key, version).put(key, format!("after {version}")),
        };
    }
    if rng.percent(20) {
        transaction = transaction.require_length_below(queue, "", rng.magnitude(1, 60));
    }
    if rng.percent(5) {
        transaction = transaction.require_tail(queue, rng.magnitude(1, 100));
    }
    for _ in 0..rng.below(4) {
        let mut message = Message::new(Bytes::from_static(b"t")).key(*rng.pick(&["", "red", "green"]));
        if rng.percent(20) {
            message = message.delay(Duration::from_millis(rng.magnitude(1, 5000)));
        }
        if rng.percent(15) {
            let subject = *rng.pick(&["work.done", "work.done.twice", "play"]);
            transaction = transaction.route_raw(message.subject(subject));
            continue;
        }
        // Now and then to a queue that may not be there.
        let to = if rng.percent(85) { queue.to_owned() } else { format!("model-{}", rng.below(4)) };
        transaction = transaction.publish(&cx.client.raw_queue(to), message);
    }
    drop(transact::call(cx, transaction).await);
}

/// Looks at the state.
pub(super) async fn look(cx: &Cx, rng: &mut Rng) {
    let key = *rng.pick(&SHARED);
    match rng.below(4) {
        0 => drop(list_state::call(cx, "shared/").await),
        1 => {
            let at_most = Duration::from_millis(rng.magnitude(1, 3000));
            drop(await_state::call(cx, key, rng.magnitude(1, 50), at_most).await);
        }
        _ => drop(get_state::call(cx, key).await),
    }
}
