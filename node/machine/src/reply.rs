//! What the proposer of a command gets back.

use crate::command::{QueueSettings, Settings};
use crate::effect::Lease;

/// The answer to one command.
pub type Outcome = Result<Reply, Refusal>;

/// A command that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`crate::command::CreateQueue`].
    QueueCreated {
        /// The settings in force, defaults filled in.
        settings: Settings,
        /// False if the same queue was there already.
        created: bool,
        /// When it was created, by replicated time.
        created_at_ms: u64,
        /// The settings of the queue itself.
        queue: QueueSettings,
    },
    /// To [`crate::command::CreateSub`].
    SubCreated {
        /// The settings in force, defaults filled in.
        settings: Settings,
        /// False if the same subscription was there already.
        created: bool,
    },
    /// To [`crate::command::UpdateQueue`] and [`crate::command::UpdateSub`]: the revision of the settings now.
    Updated {
        /// Grows by one with every change.
        revision: u64,
    },
    /// To [`crate::command::Seek`]: where the subscription goes on.
    Sought {
        /// The first position that it has not done.
        position: u64,
    },
    /// To [`crate::command::Unpark`].
    Unparked {
        /// How many messages were redriven or discarded by this entry.
        messages: u64,
        /// What carries on with the rest; 0 if there is none.
        job: u64,
    },
    /// To [`crate::command::OpenProducer`].
    ProducerOpened(ProducerOpened),
    /// To [`crate::command::Publish`].
    Published {
        /// Positions of the messages, in order.
        positions: Vec<PositionRun>,
    },
    /// To [`crate::command::Transact`].
    Transacted(Transacted),
    /// To [`crate::command::Attach`].
    Attached(Attached),
    /// To [`crate::command::Settle`].
    Settled(Settled),
    /// To [`crate::command::GiveNodeIds`]: the last that was given out, those before it included.
    NodeIdsGiven(u64),
    /// To [`crate::command::RaiseVersion`]: the version that is active now.
    VersionActive(u32),
    /// To every other command.
    Done,
}

/// See [`Reply::QueueCreated`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueCreated {
    /// The settings in force, defaults filled in.
    pub settings: Settings,
    /// False if the same queue was there already.
    pub created: bool,
    /// When it was created, by replicated time.
    pub created_at_ms: u64,
    /// The settings of the queue itself.
    pub queue: QueueSettings,
}

/// See [`Reply::SubCreated`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubCreated {
    /// The settings in force, defaults filled in.
    pub settings: Settings,
    /// False if the same subscription was there already.
    pub created: bool,
}

/// See [`Reply::Unparked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparked {
    /// How many messages were redriven or discarded by this entry.
    pub messages: u64,
    /// What carries on with the rest; 0 if there is none.
    pub job: u64,
}

/// A producer session is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerOpened {
    /// Names the session in later commands.
    pub producer: u64,
    /// Counts how often the session was opened.
    pub epoch: u64,
    /// The last sequence number it published; 0 if none.
    pub last_seq: u64,
}

/// `count` consecutive positions. Like all that a receipt is made of, its encoding is frozen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct PositionRun {
    /// The first of them.
    #[prost(uint64, tag = "1")]
    pub first_position: u64,
    /// How many.
    #[prost(uint32, tag = "2")]
    pub count: u32,
    /// The queue had them already: from an earlier attempt, or by their ids.
    #[prost(bool, tag = "3")]
    pub duplicate: bool,
}

/// A transaction was carried out.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Transacted {
    /// Where its messages went, for each batch that it published to a queue, and for each queue that a routed batch got into, by their names.
    #[prost(message, repeated, tag = "1")]
    pub published: Vec<Placed>,
    /// The version of each key that it wrote.
    #[prost(uint64, repeated, tag = "2")]
    pub versions: Vec<u64>,
    /// It was carried out by an earlier attempt: nothing happened now.
    #[prost(bool, tag = "3")]
    pub duplicate: bool,
}

/// Where messages went.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Placed {
    /// Name of the queue.
    #[prost(string, tag = "1")]
    pub queue: String,
    /// Their positions, in order.
    #[prost(message, repeated, tag = "2")]
    pub positions: Vec<PositionRun>,
    /// Which of the transaction's batches it was, counted from 0.
    #[prost(uint32, tag = "3")]
    pub nth: u32,
}

/// A part of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// [`crate::command::Transact::require`].
    Require,
    /// [`crate::command::Transact::settle`].
    Settle,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Require => "require",
            Self::Settle => "settle",
        })
    }
}

/// What is the case instead of what a transaction needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Found {
    /// The version of the key; 0: it is absent.
    #[error("the key has version {0} (0: it is absent)")]
    Version(u64),
    /// The last position of the queue.
    #[error("the last position of the queue is {0}")]
    Tail(u64),
    /// How many messages the subscription has.
    #[error("the subscription has {0} messages")]
    Length(u64),
    /// This message is not leased under that token to whom the others are.
    #[error(
        "the lease of the message at position {0} is not current: it expired, was revoked, or was settled"
    )]
    NotHeld(u64),
}

/// A consumer session is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Names the session in later commands.
    pub consumer: u64,
    /// Grows with every attach of the session.
    pub generation: u64,
    /// Whether the session was there already.
    pub resumed: bool,
    /// The subscription's settings.
    pub settings: Settings,
    /// What the session held before this entry, in order of position. Leases assigned by the entry itself
    /// come as effects.
    pub leases: Vec<Lease>,
}

/// What came of a settle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// What was not settled, and why.
    pub refused: Vec<NotSettled>,
    /// What was to go back, and left instead.
    pub left: Vec<Left>,
    /// What the consumer holds no more because something before it went back. The effects say so too; here it comes with the answer,
    /// so that nobody has to wonder whether news of it are still under way.
    pub revoked: Vec<Lease>,
}

/// `count` messages that did not go back, though they were to be retried or released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Position of the first.
    pub first_position: u64,
    /// How many.
    pub count: u32,
    /// What became of them.
    pub how: LeftHow,
}

/// See [`Left`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeftHow {
    /// They were exhausted, and are parked.
    Parked,
    /// They were exhausted, and are done.
    Discarded,
    /// Their time to live was over.
    Expired,
}

/// `count` messages of a settle that were not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSettled {
    /// Position of the first.
    pub first_position: u64,
    /// How many.
    pub count: u32,
    /// Why.
    pub refusal: Refusal,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is more than it may be.
    #[error("at most {limit}{}{unit}, got {found}", if unit.is_empty() { "" } else { " " })]
    Over {
        /// How much there is.
        found: u64,
        /// How much there may be.
        limit: u64,
        /// Of what: `bytes`, `headers`; nothing for a bare number.
        unit: &'static str,
    },
    /// It is outside of a range.
    #[error("must be within {min} to {max}, got {found}")]
    NotWithin {
        /// What was given.
        found: u64,
        /// The least that may be.
        min: u64,
        /// The most that may be.
        max: u64,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl From<String> for Problem {
    fn from(words: String) -> Self {
        Self::Other(words)
    }
}

impl From<&str> for Problem {
    fn from(words: &str) -> Self {
        Self::Other(words.to_owned())
    }
}

impl Refusal {
    /// Refuses a field that has more than it may have of something: `bytes`, `headers`; nothing for a bare number.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] with [`Problem::Over`].
    pub fn unless_at_most<T: TryInto<u64>>(
        field: &'static str,
        found: T,
        limit: T,
        unit: &'static str,
    ) -> Result<(), Self> {
        let count = |n: T| n.try_into().unwrap_or(u64::MAX);
        let (found, limit) = (count(found), count(limit));
        if found <= limit {
            return Ok(());
        }
        Err(Self::Invalid { field, problem: Problem::Over { found, limit, unit } })
    }
}

/// A command that was refused; it changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field is out of its range.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it, with the range.
        problem: Problem,
    },
    /// No such namespace.
    #[error("there is no namespace {0:?}")]
    UnknownNamespace(String),
    /// No such queue.
    #[error("there is no queue {0:?}")]
    UnknownQueue(String),
    /// No such subscription.
    #[error("there is no subscription {0:?}")]
    UnknownSubscription(String),
    /// A queue of that name exists with other settings.
    #[error("a queue {0:?} exists with other settings")]
    QueueExists(String),
    /// A subscription of that name exists with other settings.
    #[error("a subscription {0:?} exists with other settings")]
    SubscriptionExists(String),
    /// The settings were changed since they were read.
    #[error("the settings were changed meanwhile: revision {current}, not {given}")]
    RevisionChanged {
        /// The revision in the command.
        given: u64,
        /// The settings' revision.
        current: u64,
    },
    /// A queue has at least one subscription.
    #[error("it is the queue's last subscription: delete the queue instead")]
    LastSubscription,
    /// The position is outside what the queue stores.
    #[error("position {position} is outside of what the queue stores: {first} to {next}")]
    OutOfRange {
        /// The position in the command.
        position: u64,
        /// The first that is stored.
        first: u64,
        /// Of the next message.
        next: u64,
    },
    /// No subscription has that message.
    #[error("no subscription has a message at position {0}")]
    UnknownMessage(u64),
    /// No message with that id is in the queue.
    #[error("no message with the id {0:?} is in the queue")]
    UnknownId(String),
    /// The message is due already, somewhere.
    #[error("the message at position {0} is not delayed any more")]
    NotDelayed(u64),
    /// A limit of the queue's settings is reached.
    #[error("the queue is full: {holds} of {limit} {what} in a subscription, and {more} more were published")]
    QueueFull {
        /// What there is too much of: `messages` or `bytes`.
        what: &'static str,
        /// What the fullest subscription holds.
        holds: u64,
        /// What was to come.
        more: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// A subscription's `max_lag` is reached.
    #[error(
        "the subscription {subscription} is full: {holds} of {limit} messages, and {more} more were published"
    )]
    LagReached {
        /// Its name.
        subscription: String,
        /// How many messages it has.
        holds: u64,
        /// How many were to come.
        more: u64,
        /// How many it may have.
        limit: u64,
    },
    /// No queue has a route for the subject.
    #[error("no queue has a route that matches the subject {0:?}")]
    Unroutable(String),
    /// A transaction needs what is not the case.
    #[error("{part} {nth}: {found}")]
    PreconditionFailed {
        /// Which part of the transaction needs it.
        part: Part,
        /// Number of the requirement or settle in its part, counted from 0.
        nth: u32,
        /// What is the case instead.
        found: Found,
    },
    /// A limit of [`crate::limits`] is reached.
    #[error("the limit of {limit} {what} is reached")]
    LimitReached {
        /// What there are too many of.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// No such producer session: it expired, was closed, or never was.
    #[error("the producer session is not known: it expired or was closed")]
    UnknownProducer,
    /// Someone opened the producer session after this holder.
    #[error("the producer session was opened again (epoch {current}): this holder (epoch {given}) is fenced")]
    ProducerFenced {
        /// The epoch in the command.
        given: u64,
        /// The session's epoch.
        current: u64,
    },
    /// Someone else opened the producer session since this holder had it.
    #[error("the producer session was opened by somebody else (epoch {epoch}): this holder is fenced")]
    ProducerTaken {
        /// The session's epoch.
        epoch: u64,
    },
    /// A batch before this one is missing.
    #[error("sequence number {given} does not follow {last}: a batch before it is missing or was refused")]
    SequenceGap {
        /// First sequence number in the command.
        given: u64,
        /// The session's last.
        last: u64,
    },
    /// The producer said it has these receipts and asked for them again.
    #[error("the receipts up to {acked} were acknowledged and are forgotten; {given} was sent again")]
    ReceiptForgotten {
        /// First sequence number in the command.
        given: u64,
        /// Acknowledged up to here.
        acked: u64,
    },
    /// No such consumer session: it ended, or never was.
    #[error("the consumer session is not known: it ended")]
    UnknownConsumer,
    /// Someone attached the session after this holder.
    #[error("the consumer session was attached again (generation {current}, not {given})")]
    ConsumerFenced {
        /// The generation in the command.
        given: u64,
        /// The session's generation.
        current: u64,
    },
    /// The lease is not current: it expired, was revoked or settled.
    #[error("the lease is no longer current: it expired, was revoked, or was settled")]
    StaleLease,
    /// The message is not leased, and never was under this token.
    #[error("the message was never leased under this token")]
    NeverLeased,
}
