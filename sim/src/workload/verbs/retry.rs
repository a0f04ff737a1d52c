//! Says that the work on a delivery failed. Found in the log by queue, position and token.

use std::time::Duration;

use quorate_client::Outcome;

use super::Delivery;
use crate::history::{Answer, How};
use crate::seed::Rng;
use crate::workload::cx::Cx;
use crate::workload::settle::{Later, settle};

/// A delay in milliseconds, or the subscription's.
pub(crate) fn sample(rng: &mut Rng) -> Option<u64> {
    rng.percent(50).then(|| rng.magnitude(1, 5000))
}

/// Fails it and waits for the answer.
pub(crate) async fn call(cx: &Cx, queue: &str, delivery: Delivery, after_ms: Option<u64>) -> Answer {
    let (position, token) = (delivery.position, delivery.token);
    let work = delivery.settle(outcome(after_ms));
    settle(cx, queue, position, token, How::Retry(after_ms), work).await
}

/// Fails it together with others.
pub(crate) fn later(cx: &Cx, queue: &str, delivery: Delivery, after_ms: Option<u64>) -> Later {
    let later = Later::new(cx, queue, &delivery, How::Retry(after_ms));
    delivery.settle_later(outcome(after_ms));
    later
}

fn outcome(after_ms: Option<u64>) -> Outcome {
    Outcome::Retry { after: after_ms.map(Duration::from_millis), reason: String::new() }
}
