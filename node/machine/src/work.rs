//! How much one entry may do, and what it got done of what was left to do.
//!
//! However much is due at once, an entry touches a bounded number of rows; what is left stays in the state, and the next entry goes on with it. [`Step`]s say
//! how far an entry got, so that whoever follows the log in other words (the model) can do as much.
//!
//! How work is counted says where an entry stops, so it is part of what an entry means: a change of it needs a new version of the format, like any other.

/// A part of what was due, as an entry carried it out. An entry's steps are in the order in which they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it was due, by replicated time in milliseconds.
    pub time_ms: u64,
    /// What was due.
    pub kind: Kind,
    /// The queue; 0 if it concerns none.
    pub queue: u64,
    /// Number of the subscription; 0 if it concerns none, or all of the queue.
    pub sub: u32,
    /// The first position, or the id of what is no message.
    pub first: u64,
    /// The position after the last.
    pub end: u64,
}

/// What falls due. At one time, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A tick begins; the steps after it are its own.
    Tick,
    /// A redrive or discard begins; the steps after it are its own.
    Unpark,
    /// What a consumer held that ended is released up to a position, `end`; `first` names the consumer. Before everything that is due.
    Released,
    /// A consumer of a deleted subscription ended, which `first` names. Before everything that is due, or of the deletion.
    Ended,
    /// A consumer lost what it held of a subscription that was moved up to a position, `end`, and follows it if that is all; `first` names it. Before everything that is due, or
    /// of a seek or purge.
    Followed,
    /// Leases end.
    Lease,
    /// Backoffs end.
    Retry,
    /// It is looked whether a producer session is idle.
    Producer,
    /// Delayed messages are due.
    Delay,
    /// Messages expire, in every subscription of their queue.
    Expiry,
    /// A redrive or discard goes on.
    Job,
    /// Batches are too old to be retained.
    Retain,
    /// A key of the state expires.
    State,
    /// Parked messages were redriven or discarded, those of so many that the selector names. Of a command, or of the job before it.
    Unparked,
    /// Messages that are parked with their key were discarded: `first` names the key, as [`number_of_key`] does, and `end` says how many, the lowest.
    DiscardedInKey,
    /// A key is not parked any more; `first` names it.
    UnparkedKey,
    /// A redrive or discard is not through: `first` is the job's id, and `time_ms` when it goes on.
    JobLeft,
    /// A subscription that was behind has looked at so many more. After everything that is due.
    Seen,
    /// A subscription that is new or was moved looked at so many at once. Of the command that did that.
    Begun,
    /// A consumer ended, and holds what it held from a position on, `end`, until ticks release it; `first` names it. Of a detach.
    Leaving,
    /// The lowest messages of a subscription were dropped, as many as `end` says, and too many are left. Of a publish.
    Dropped,
    /// A subscription handed out as many messages as `end` says, and has more for consumers that could have it if `first` is 1. Of an entry, after its commands, for each subscription
    /// that did not get through, or had not before. One that had not, and of which nothing is said, handed out nothing.
    Assigned,
    /// A subscription has not looked at what was published from there on. Of a publish.
    Unseen,
}

/// The number of a key in steps.
pub fn number_of_key(key: &[u8]) -> u64 {
    crate::tables::chunk::lane_of(key)
}

/// What has been done, and the most that may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Rows that an entry may touch before it leaves the rest to the next.
    pub(crate) rows_max: u64,
}

/// Rows that are touched for a message at most, where each may have a run of its own: to take it out of one, to put it into another, to let it go.
const ROWS_PER_MESSAGE: u64 = 20;
/// The same in a subscription that orders by keys, where it may move others of its key.
const ROWS_PER_KEYED_MESSAGE: u64 = 56;

/// Rows that are touched at most for a message in a subscription.
pub(crate) fn rows_per_message(keyed: bool) -> u64 {
    if keyed { ROWS_PER_KEYED_MESSAGE } else { ROWS_PER_MESSAGE }
}

impl Budget {
    /// How many things that touch so many rows each there is room for, at least one: whatever is begun gets on.
    pub(crate) fn room(self, touched: u64, rows_each: u64) -> u64 {
        (self.rows_max.saturating_sub(touched) / rows_each.max(1)).max(1)
    }
}
