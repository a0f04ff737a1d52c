//! How much a command may have to do, as far as it can be known without the state: what packs commands into entries closes an entry by weight as well as by
//! bytes, so that applying one takes a bounded time.
//!
//! A weight counts rows, as [`crate::limits::ENTRY_ROWS`] does. What an entry leaves to the next when it is full (looks, leases, what is due) weighs nothing here: only what a
//! command has to go through with.

use crate::command::{Outcome, SettleRange, Transact, Verb};
use crate::limits::ENTRY_ROWS;
use crate::message::{EXPIRES, IDENTIFIED};
use crate::work::rows_per_message;

/// Whatever a command does: header rows, names, an answer.
const COMMAND_ROWS: u64 = 12;
/// A batch of messages: its chunk, its body, the receipts.
const BATCH_ROWS: u64 = 12;
/// An id is looked up, and noted.
const ID_ROWS: u64 = 4;
/// A key of the state, with its deadline.
const PUT_ROWS: u64 = 8;
/// A requirement.
const REQUIRE_ROWS: u64 = 4;
/// A range of leases is looked for, and leaves parts of runs at both of its ends.
const RANGE_ROWS: u64 = 16;

/// Rows that carrying out a command touches at most, or as near to that as it can be known.
pub fn weight(verb: &Verb) -> u64 {
    COMMAND_ROWS
        + match verb {
            Verb::Publish(command) => batch(command.lengths.len(), command.attributes),
            Verb::Settle(command) => command.ranges.iter().map(range).sum(),
            Verb::Transact(command) => transaction(command),
            // They do what an entry has room for, and little more.
            Verb::Tick(_)
            | Verb::Seek(_)
            | Verb::CreateSub(_)
            | Verb::UpdateQueue(_)
            | Verb::Unpark(_)
            | Verb::Detach(_) => ENTRY_ROWS / 4,
            // They go through the subscriptions of a queue.
            Verb::Purge(_) | Verb::DeleteQueue(_) | Verb::DeleteSub(_) => ENTRY_ROWS,
            Verb::CreateQueue(_)
            | Verb::OpenProducer(_)
            | Verb::CloseProducer(_)
            | Verb::Attach(_)
            | Verb::Credit(_)
            | Verb::GiveNodeIds(_)
            | Verb::RaiseVersion(_)
            | Verb::UpdateSub(_)
            | Verb::Pause(_)
            | Verb::Reschedule(_) => COMMAND_ROWS,
        }
}

fn batch(messages: usize, attributes: u32) -> u64 {
    let ids = if attributes & IDENTIFIED == 0 { 0 } else { ID_ROWS };
    let expiries = u64::from(attributes & EXPIRES != 0);
    BATCH_ROWS + messages as u64 * (ids + expiries)
}

/// An acknowledged stretch is one run for a subscription without order, and as many as it has messages for one with keys: mostly it is something in between. What goes
/// back does so message by message.
fn range(range: &SettleRange) -> u64 {
    let count = u64::from(range.count);
    let each = match Outcome::try_from(range.outcome) {
        Ok(Outcome::Ack | Outcome::Extend) => rows_per_message(false) / 2,
        _ => rows_per_message(true),
    };
    RANGE_ROWS + count * each
}

fn transaction(command: &Transact) -> u64 {
    let settles: u64 = command.settle.iter().map(|lease| range(&lease.range)).sum();
    let publishes: u64 =
        command.publish.iter().map(|publish| batch(publish.lengths.len(), publish.attributes)).sum();
    settles + publishes + command.put.len() as u64 * PUT_ROWS + command.require.len() as u64 * REQUIRE_ROWS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Publish, Settle, Tick};
    use crate::limits::ENTRY_WEIGHT;

    #[test]
    fn what_is_plain_weighs_little_and_what_names_many_messages_weighs_much() {
        let plain = Verb::Publish(Publish { lengths: vec![100; 4096], ..Publish::default() });
        let with_ids =
            Verb::Publish(Publish { lengths: vec![100; 4096], attributes: IDENTIFIED, ..Publish::default() });
        assert!(1024 * weight(&plain) <= ENTRY_WEIGHT, "an entry may be full of plain publishes");
        assert!(weight(&with_ids) > 100 * weight(&plain));
        let settle = |outcome: Outcome, count| {
            let range = SettleRange { count, outcome: outcome.into(), ..SettleRange::default() };
            weight(&Verb::Settle(Settle { ranges: vec![range], ..Settle::default() }))
        };
        assert!(settle(Outcome::Retry, 100) > settle(Outcome::Ack, 100));
        assert!(settle(Outcome::Ack, 500) < ENTRY_WEIGHT);
        assert!(4 * weight(&Verb::Tick(Tick {})) < ENTRY_WEIGHT);
    }
}
