//! Looks at messages. Not in the log: its answer names the entry whose state it saw.

use quorate_client::Peek;
use quorate_client::wire::{MessageState, PeekResponse, StatResponse};

use crate::history::{Answer, Call};
use crate::seed::Rng;
use crate::workload::cx::Cx;

/// Somewhere in what the actor saw of the queue last.
pub(crate) fn sample(rng: &mut Rng, seen: Option<&StatResponse>) -> Peek {
    let (first, last) = seen.map_or((0, 0), |stat| (stat.first_position, stat.last_position));
    let from_position = match rng.below(4) {
        0 => 0,
        1 => first,
        2 => last.saturating_sub(rng.below(5)),
        _ => rng.between(first.min(last), last + 2),
    };
    let states = [MessageState::Ready, MessageState::Leased, MessageState::Retrying, MessageState::Done];
    let state = rng.percent(50).then(|| *rng.pick(&states));
    let count = if rng.percent(10) { 0 } else { rng.magnitude(1, 40) as u32 };
    Peek { subscription: String::new(), from_position, count, state }
}

/// Looks.
pub(crate) async fn call(cx: &Cx, queue: &str, what: Peek) -> Result<PeekResponse, Answer> {
    let call = Call::Peek {
        queue: queue.to_owned(),
        from: what.from_position,
        count: what.count,
        state: what.state,
    };
    let queues = cx.client.queues();
    let work = queues.peek(queue, &what);
    cx.call(call, work, |peeked| Answer::Peeked(peeked.clone())).await
}
