//! Changes a consumer's credit. Found in the log by the session and the new credit; nothing answers it.

use super::Consumer;
use crate::history::Call;
use crate::seed::Rng;
use crate::workload::cx::Cx;

/// Another credit, now and then none.
pub(crate) fn sample(rng: &mut Rng, most: u64) -> u32 {
    if rng.percent(15) { 0 } else { rng.magnitude(1, most) as u32 }
}

/// Asks for it.
pub(crate) fn call(cx: &Cx, queue: &str, consumer: &Consumer, credit: u32) {
    cx.invoke(Call::Credit { queue: queue.to_owned(), credit });
    consumer.set_credit(credit);
}
