//! Checks from the history alone: they trust no index, no log and no state. Numbered as the anchors number them:
//!
//! | | |
//! |---|---|
//! | B1 [`phantom`] | what is delivered was published, whole |
//! | B2 [`loss`] | what was acknowledged is delivered and settled in the end |
//! | B3 [`dedup`] | one message, one position |
//! | B4 [`fifo`] | messages are leased for the first time in the order of their positions, but for order `key` |
//! | B5 [`positions`] | positions have no gaps and follow the order of sending |
//! | B6 [`holder`] | a token is one lease of one consumer, leases of a message do not overlap, tokens of a name only grow |
//! | B7 [`settled`] | done is done, and an old token settles nothing |
//! | B8 [`attempts`] | attempts count failures |
//! | B9 [`order`], [`keys`] | with order `total` nothing overtakes, with order `key` nothing of the same key |
//! | B10 [`transactions`] | a transaction happens whole or not at all |
//! | B11 [`figures`] | lengths and positions in stats are within what happened |
//!
//! B12 compares replicas and stands in `convergence`. A name may have had several queues, one after the other. Since positions and tokens
//! of a name are never used again, most checks take them for one; those that must know what became of every message leave out names
//! that a call to delete mentions.

mod attempts;
mod dedup;
mod fifo;
mod figures;
mod holder;
mod keys;
mod loss;
mod order;
mod phantom;
mod positions;
mod settled;
mod tokens;
mod transactions;

use super::past::Past;
use super::report::Report;

/// All of them, over a whole run.
pub(super) fn check(past: &Past<'_>, report: &mut Report) {
    let queues = past.queues();
    for queue in &queues {
        phantom::check(queue, report);
        dedup::check(queue, report);
        positions::check(queue, report);
        holder::check(queue, report);
        settled::check(queue, report);
        attempts::check(queue, report);
        keys::check(queue, report);
        if !queue.was_deleted() {
            loss::check(queue, report);
            fifo::check(queue, report);
            order::check(queue, report);
            figures::check(queue, report);
        }
    }
    transactions::check(past, &queues, report);
}

#[cfg(test)]
mod tests {
    use crate::check::story::Story;
    use crate::history::How;

    /// A plain day: every check accepts it.
    pub(super) fn plain() -> Story {
        let mut story = Story::default();
        story.create(true);
        for body in 1..=3 {
            story.published(1, body, body);
        }
        story.delivered(5, 1, 1, 1, 1);
        story.delivered(5, 2, 2, 1, 2);
        story.settled(5, 1, 1, How::Retry(None), crate::history::Answer::Done);
        story.delivered(5, 1, 3, 2, 1);
        story.acked(5, 1, 3);
        story.delivered(5, 2, 4, 1, 2);
        story.delivered(5, 3, 5, 1, 3);
        story.acked(5, 3, 5);
        story.acked(5, 2, 4);
        story.empty(3);
        story
    }

    #[test]
    fn a_plain_day_is_accepted() {
        assert_eq!(plain().found(super::check), Vec::<String>::new());
    }

    /// Deleted with a message in somebody's hand, and made again.
    fn made_again() -> Story {
        let mut story = plain();
        story.published(1, 4, 4);
        story.published(1, 5, 5);
        story.delivered(5, 4, 6, 1, 4);
        story.delete();
        story.create(true);
        story
    }

    #[test]
    fn a_queue_that_is_made_again_goes_on() {
        let mut story = made_again();
        story.published(1, 6, 6);
        story.delivered(6, 6, 7, 1, 6);
        story.settled(5, 4, 6, How::Ack, crate::history::Answer::Refused("STALE_LEASE".into()));
        story.acked(6, 6, 7);
        story.empty(6);
        assert_eq!(story.found(super::check), Vec::<String>::new());
    }

    #[test]
    fn a_queue_that_begins_again_is_seen() {
        let mut story = made_again();
        story.published(1, 6, 1);
        let found = story.found(super::check);
        assert!(found.iter().any(|found| found.contains("at 1 are the bodies 1 and 6")), "{found:?}");
        assert!(found.iter().any(|found| found.contains("of the same session")), "{found:?}");

        let mut story = made_again();
        story.published(1, 6, 6);
        story.delivered(6, 6, 1, 1, 6);
        let found = story.found(super::check);
        assert!(found.iter().any(|found| found.contains("token 1 is 1 for")), "{found:?}");
        assert!(found.iter().any(|found| found.contains("published when token 6 was out")), "{found:?}");
    }
}
