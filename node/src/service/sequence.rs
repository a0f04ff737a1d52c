//! What a producer's stream has under way: enough to tell a gap without an entry.
//!
//! Nobody else publishes under the stream's epoch, since whoever opens the session gets another one. So what is stored of the session is at most what was
//! stored when the stream began, and what it has proposed since. A batch that does not continue that is refused by every
//! leader, whatever becomes of those before it.

use std::collections::VecDeque;

use parking_lot::Mutex;
use quorate_machine::reply::{Refusal, Reply};

/// Shared by the half of a stream that reads batches and the half that answers them.
pub struct Sequence(Mutex<Inner>);

struct Inner {
    /// The last sequence number that is stored, as far as answers have told.
    stored: u64,
    /// First and last sequence numbers of the batches that are proposed and have no answer, in their order.
    under_way: VecDeque<(u64, u64)>,
    /// The last that is stored if all of them are.
    hoped: u64,
    /// Answers that were refusals.
    refused: u64,
    /// The session is over, or another's: that never changes.
    over: Option<Refusal>,
}

impl Sequence {
    /// Of a session that has stored everything up to `stored`.
    pub fn new(stored: u64) -> Self {
        let (under_way, over) = (VecDeque::new(), None);
        Self(Mutex::new(Inner { stored, under_way, hoped: stored, refused: 0, over }))
    }

    /// Why a batch that begins with this number is refused, if that is certain.
    pub fn refusal(&self, first_seq: u64) -> Option<Refusal> {
        let inner = self.0.lock();
        let gap = Refusal::SequenceGap { given: first_seq, last: inner.hoped };
        inner.over.clone().or_else(|| (first_seq > inner.hoped.saturating_add(1)).then_some(gap))
    }

    /// A batch was proposed; one without messages ends the session.
    pub fn proposed(&self, first_seq: u64, count: u64) {
        let mut inner = self.0.lock();
        let batch = if count == 0 { (0, 0) } else { (first_seq, first_seq.saturating_add(count - 1)) };
        inner.under_way.push_back(batch);
        inner.hoped = continued(inner.hoped, batch);
    }

    /// The oldest batch under way has its answer.
    pub fn answered(&self, answer: &Result<Reply, Refusal>) {
        let mut inner = self.0.lock();
        let Some(batch) = inner.under_way.pop_front() else { return };
        match answer {
            Ok(_) => inner.stored = inner.stored.max(batch.1),
            Err(refusal) => {
                if matches!(refusal, Refusal::UnknownProducer | Refusal::ProducerFenced { .. }) {
                    inner.over = Some(refusal.clone());
                }
                inner.refused += 1;
                inner.hoped = inner.under_way.iter().copied().fold(inner.stored, continued);
            }
        }
    }

    /// How many batches were refused.
    pub fn refused(&self) -> u64 {
        self.0.lock().refused
    }
}

/// The last number that is stored after a batch, if it is not refused for another reason than a gap.
fn continued(last: u64, (first, end): (u64, u64)) -> u64 {
    if first.saturating_sub(1) <= last { last.max(end) } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: Result<Reply, Refusal> = Ok(Reply::Done);

    fn full() -> Result<Reply, Refusal> {
        Err(Refusal::QueueFull { what: "messages", holds: 1, more: 1, limit: 1 })
    }

    fn gap(given: u64, last: u64) -> Option<Refusal> {
        Some(Refusal::SequenceGap { given, last })
    }

    #[test]
    fn what_continues_is_no_gap_and_what_does_not_is_one() {
        let sequence = Sequence::new(10);
        assert_eq!(sequence.refusal(12), gap(12, 10));
        for fine in [0, 1, 10, 11] {
            assert_eq!(sequence.refusal(fine), None, "{fine}");
        }
        sequence.proposed(11, 5);
        assert_eq!((sequence.refusal(16), sequence.refusal(17)), (None, gap(17, 15)));
        sequence.answered(&STORED);
        assert_eq!((sequence.refusal(16), sequence.refusal(17)), (None, gap(17, 15)));
    }

    #[test]
    fn behind_a_refused_batch_everything_is_a_gap_until_it_comes_again() {
        let sequence = Sequence::new(0);
        for first in [1, 3, 5] {
            sequence.proposed(first, 2);
        }
        sequence.answered(&full());
        assert_eq!((sequence.refusal(7), sequence.refusal(3)), (gap(7, 0), gap(3, 0)));
        assert_eq!(sequence.refusal(1), None);
        // It comes again, while those that were proposed behind it still have no answer.
        sequence.proposed(1, 2);
        sequence.proposed(3, 2);
        for _ in 0..2 {
            sequence.answered(&Err(Refusal::SequenceGap { given: 3, last: 0 }));
            assert_eq!(sequence.refusal(5), None, "what came again may be stored");
        }
        sequence.answered(&STORED);
        sequence.answered(&STORED);
        assert_eq!((sequence.refusal(5), sequence.refusal(6)), (None, gap(6, 4)));
    }

    #[test]
    fn a_session_that_is_over_stays_so() {
        let sequence = Sequence::new(4);
        sequence.proposed(5, 1);
        let fenced = Refusal::ProducerFenced { given: 1, current: 2 };
        sequence.answered(&Err(fenced.clone()));
        assert_eq!((sequence.refusal(5), sequence.refusal(1)), (Some(fenced.clone()), Some(fenced)));
    }
}
