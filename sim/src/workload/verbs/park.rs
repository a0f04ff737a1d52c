//! Sets a delivery aside.

use super::Delivery;
use crate::history::Answer;
use crate::workload::cx::Cx;

/// Does it.
pub(crate) async fn call(cx: &Cx, queue: &str, delivery: Delivery) -> Result<(), Answer> {
    cx.manage(queue, "park", delivery.park("out of luck")).await
}
