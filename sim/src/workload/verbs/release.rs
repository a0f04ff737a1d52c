//! Gives a delivery back. Found in the log by queue, position and token.

use quorate_client::Outcome;

use super::Delivery;
use crate::history::{Answer, How};
use crate::workload::cx::Cx;
use crate::workload::settle::{Later, settle};

/// Gives it back and waits for the answer.
pub(crate) async fn call(cx: &Cx, queue: &str, delivery: Delivery) -> Answer {
    let (position, token) = (delivery.position, delivery.token);
    settle(cx, queue, position, token, How::Release, delivery.release()).await
}

/// Gives it back together with others.
pub(crate) fn later(cx: &Cx, queue: &str, delivery: Delivery) -> Later {
    let later = Later::new(cx, queue, &delivery, How::Release);
    delivery.settle_later(Outcome::Release);
    later
}
