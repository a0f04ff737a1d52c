//! Creates a queue. Found in the log by its name and settings; only the first of several that are alike creates it.

use std::time::Duration;

use quorate_client::{Order, SubscriptionSettings};

use crate::history::{Answer, Call, is_keyed};
use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::plan::QueuePlan;

/// Settings for a scratch queue: mostly the same for a name, now and then others, or such as are refused.
pub(crate) fn sample(rng: &mut Rng, name: &str) -> QueuePlan {
    let mut queue = QueuePlan { name: name.to_owned(), total: false, lease_ms: 0, backoff_ms: (0, 0) };
    match rng.below(20) {
        0..=14 => queue.lease_ms = 2000,
        15..=17 => queue.total = true,
        18 => queue.backoff_ms = (rng.between(10, 100), rng.between(10, 100)),
        _ => queue.lease_ms = 1,
    }
    queue
}

/// Creates it, if it is not there.
pub(crate) async fn call(cx: &Cx, queue: &QueuePlan) -> Result<(), Answer> {
    let call = Call::CreateQueue {
        queue: queue.name.clone(),
        total: queue.total,
        lease_ms: queue.lease_ms,
        backoff_ms: queue.backoff_ms,
    };
    let given = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    let settings = SubscriptionSettings {
        order: match (queue.total, is_keyed(&queue.name)) {
            (true, _) => Order::Total,
            (_, true) => Order::Key,
            _ => Order::None,
        },
        lease: given(queue.lease_ms),
        backoff: given(queue.backoff_ms.0).zip(given(queue.backoff_ms.1)),
        ..SubscriptionSettings::default()
    };
    let queues = cx.client.queues();
    let work = queues.create(&queue.name, settings);
    cx.call(call, work, |created| Answer::Created(Box::new(created.clone()))).await.map(drop)
}
