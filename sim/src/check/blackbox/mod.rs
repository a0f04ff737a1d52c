//! Checks from the history alone: they trust no index, no log and no state. Numbered as the anchors number them:
//!
//! | | |
//! |---|---|
//! | B1 [`phantom`] | what is delivered was published, whole |
//! | B2 [`loss`] | what was acknowledged is delivered and settled in the end |
//! | B3 [`dedup`] | one message, one position |
//! | B4 [`fifo`] | messages are leased for the first time in the order of their positions |
//! | B5 [`positions`] | positions have no gaps and follow the order of sending |
//! | B6 [`holder`] | a token is one lease of one consumer |
//! | B7 [`settled`] | done is done, and an old token settles nothing |
//! | B8 [`attempts`] | attempts count failures |
//! | B9 [`order`] | with order `total` nothing overtakes |
//! | B11 [`figures`] | lengths and positions in stats are within what happened |
//!
//! B10 is about transactions, which do not exist yet; B12 compares replicas and stands in `convergence`. Queues that a call
//! to delete names are left out: the same name may be several queues then.

mod attempts;
mod dedup;
mod fifo;
mod figures;
mod holder;
mod loss;
mod order;
mod phantom;
mod positions;
mod settled;
mod tokens;

use super::past::Past;
use super::report::Report;

/// All of them, over a whole run.
pub(super) fn check(past: &Past<'_>, report: &mut Report) {
    for queue in past.queues() {
        phantom::check(&queue, report);
        loss::check(&queue, report);
        dedup::check(&queue, report);
        fifo::check(&queue, report);
        positions::check(&queue, report);
        holder::check(&queue, report);
        settled::check(&queue, report);
        attempts::check(&queue, report);
        order::check(&queue, report);
        figures::check(&queue, report);
    }
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

    #[test]
    fn a_deleted_queue_is_left_out() {
        let mut story = plain();
        story.delivered(5, 9, 99, 1, 77);
        assert_ne!(story.found(super::check), Vec::<String>::new());
        let call = crate::history::Call::DeleteQueue { queue: "q".into() };
        story.did(0, call, crate::history::Answer::Done);
        assert_eq!(story.found(super::check), Vec::<String>::new());
    }
}
