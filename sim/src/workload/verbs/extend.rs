//! Extends a lease. Found in the log by queue, position and token; one lease may be extended several times.

use std::time::Duration;

use super::Delivery;
use crate::history::{Answer, How};
use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::settle::settle;

/// A length in milliseconds, the subscription's, or now and then one that is refused.
pub(crate) fn sample(rng: &mut Rng) -> Option<u64> {
    match rng.below(20) {
        0..=8 => None,
        9 => Some(rng.between(1, 99)),
        _ => Some(rng.magnitude(100, 10_000)),
    }
}

/// Extends it and waits for the answer.
pub(crate) async fn call(cx: &Cx, queue: &str, delivery: &Delivery, by_ms: Option<u64>) -> Answer {
    let work = delivery.extend(by_ms.map(Duration::from_millis));
    settle(cx, queue, delivery.position, delivery.token, How::Extend(by_ms), work).await
}
