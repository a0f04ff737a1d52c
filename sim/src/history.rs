//! What the clients did and saw, in the order in which it happened.
//!
//! Everything runs in one thread, so the order of the events is the order of real time: an operation whose return stands
//! before another's invocation was over before that one began.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use quorate_client::Snapshot;
use quorate_proto::v1 as wire;

use crate::interpose;

/// Names an operation; also its place among all operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// Who acts: a client's host in one of its lives, and one of the sessions in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// The host, from 0.
    pub client: usize,
    /// How often its process was started.
    pub life: u32,
    /// The actor within it, from 0.
    pub actor: u32,
}

/// What becomes of a lease, as a consumer asks for it. Delays in milliseconds; `None` leaves them to the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Done.
    Ack,
    /// Failed; ready again later.
    Retry(Option<u64>),
    /// Given back.
    Release,
    /// Still at work.
    Extend(Option<u64>),
}

/// Keys in a queue that orders by them.
const KEYS: u64 = 3;

/// Whether a queue orders by key: its name says so.
pub(crate) fn is_keyed(queue: &str) -> bool {
    queue.starts_with("keyed-")
}

/// The key, by its number, of a message with this number in its body, in a queue that orders by keys.
pub(crate) fn key(body: u64) -> u64 {
    body % KEYS
}

/// A lease that a transaction acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// The queue.
    pub queue: String,
    /// The message.
    pub position: u64,
    /// The lease's token.
    pub token: u64,
}

/// A message that a transaction publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The queue.
    pub queue: String,
    /// The number in the message's body, which no other message has.
    pub body: u64,
    /// Length of the body, in bytes.
    pub bytes: usize,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Creates a queue.
    CreateQueue {
        /// Its name.
        queue: String,
        /// Whether its order is total.
        total: bool,
        /// Length of a lease, in milliseconds.
        lease_ms: u64,
        /// First and longest backoff, in milliseconds.
        backoff_ms: (u64, u64),
    },
    /// Deletes a queue.
    DeleteQueue {
        /// Its name.
        queue: String,
    },
    /// Opens a producer session.
    OpenProducer {
        /// Its name.
        session: String,
        /// How long it is remembered without use, in milliseconds.
        ttl_ms: u64,
    },
    /// Publishes one message.
    Publish {
        /// The producer session.
        session: String,
        /// The queue.
        queue: String,
        /// The number in the message's body, which no other message has.
        body: u64,
        /// Length of the body, in bytes.
        bytes: usize,
    },
    /// Ends a producer session.
    CloseProducer {
        /// Its name.
        session: String,
    },
    /// Attaches a consumer.
    Attach {
        /// The queue.
        queue: String,
        /// How many messages it may hold.
        credit: u32,
        /// How long its session outlives its stream, in milliseconds.
        session_timeout_ms: u64,
    },
    /// Changes how many messages a consumer may hold. Has no answer of its own.
    Credit {
        /// The queue.
        queue: String,
        /// How many.
        credit: u32,
    },
    /// Settles one lease.
    Settle {
        /// The queue.
        queue: String,
        /// The message.
        position: u64,
        /// The lease's token.
        token: u64,
        /// What becomes of it.
        how: How,
    },
    /// Detaches a consumer.
    Detach {
        /// The queue.
        queue: String,
    },
    /// Counts.
    Stat {
        /// The queue.
        queue: String,
    },
    /// Looks at messages.
    Peek {
        /// The queue.
        queue: String,
        /// From this position.
        from: u64,
        /// At most so many.
        count: u32,
        /// Only in this state; `None` means all that are not done.
        state: Option<wire::MessageState>,
    },
    /// Carries out a transaction that writes the key `t-` with this number, which no other transaction has.
    Transact {
        /// See above.
        number: u64,
        /// What it acknowledges, of queues that the history follows.
        acks: Vec<Acked>,
        /// What it publishes to such queues.
        sends: Vec<Sent>,
    },
    /// Reads a key of the state.
    GetState {
        /// The key.
        key: String,
    },
    /// Lists the queues.
    ListQueues,
    /// Shows a queue.
    ShowQueue {
        /// Its name.
        queue: String,
    },
    /// Lists the members.
    Members,
    /// Removes a member.
    RemoveMember {
        /// Its name.
        name: String,
    },
    /// Asks which versions the members read.
    Version,
    /// Asks for the next version.
    RaiseVersion,
    /// Asks every replica for its state.
    Status,
    /// Something else about a queue, which only the replay of the log judges.
    Manage {
        /// The queue.
        queue: String,
        /// The verb's file.
        verb: &'static str,
    },
}

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Done, and nothing to tell.
    Done,
    /// The queue is there; whether this call made it.
    Created(Box<wire::CreateQueueResponse>),
    /// The producer session is open; the last sequence number it has published.
    Opened {
        /// See above.
        last_seq: u64,
    },
    /// The message is stored.
    Receipt {
        /// Where.
        position: u64,
        /// Whether an earlier attempt had stored it.
        duplicate: bool,
    },
    /// The transaction has happened.
    Transacted {
        /// Of its key.
        version: u64,
        /// Where its messages are, in the order of [`Call::Transact`]'s `sends`.
        positions: Vec<u64>,
    },
    /// See [`Call::GetState`].
    State(Snapshot),
    /// See [`Call::Stat`].
    Stat(wire::StatResponse),
    /// See [`Call::Peek`].
    Peeked(wire::PeekResponse),
    /// See [`Call::ListQueues`].
    Listed(Vec<wire::Queue>),
    /// See [`Call::ShowQueue`].
    Shown(Box<wire::ShowQueueResponse>),
    /// See [`Call::Members`].
    Members(wire::MembersResponse),
    /// See [`Call::Status`].
    Status(Vec<wire::ReplicaStatus>),
    /// Refused, for the reason of this name: it has had no effect.
    Refused(String),
    /// There was nobody to do it: it has had no effect.
    NotDone(String),
    /// It may or may not have had, or still have, its effect.
    Unknown(String),
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A call began.
    Invoke(OpId, Call),
    /// A call ended. A call that never ends has an unknown outcome.
    Return(OpId, Answer),
    /// A consumer was handed a message.
    Delivered {
        /// The queue.
        queue: String,
        /// The message.
        position: u64,
        /// Its lease's token.
        token: u64,
        /// Failures so far, plus one.
        attempt: u32,
        /// The number in its body.
        body: u64,
        /// Length of the body, in bytes; 0 if the body is not what a publisher of this run makes.
        bytes: usize,
    },
    /// Something else that a reader of the history wants to know: a fault, a death, a new life.
    Note(String),
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, since the start.
    pub at: Duration,
    /// Who; `None` for the world.
    pub who: Option<Who>,
    /// What.
    pub what: What,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3} ", self.at.as_secs_f64())?;
        match self.who {
            Some(who) => write!(f, "c{}.{}.{} ", who.client + 1, who.life, who.actor)?,
            None => f.write_str("world ")?,
        }
        match &self.what {
            What::Invoke(op, call) => write!(f, "#{} {call:?}", op.0),
            What::Return(op, answer) => write!(f, "#{} -> {answer:?}", op.0),
            What::Note(note) => f.write_str(note),
            delivered @ What::Delivered { .. } => write!(f, "{delivered:?}"),
        }
    }
}

/// The events of a run, so far.
#[derive(Debug, Default)]
pub struct History {
    events: RefCell<Vec<Event>>,
    ops: RefCell<u64>,
}

impl History {
    /// A call begins.
    pub fn invoke(&self, who: Who, call: Call) -> OpId {
        let op = OpId(*self.ops.borrow());
        *self.ops.borrow_mut() += 1;
        self.push(Some(who), What::Invoke(op, call));
        op
    }

    /// A call ends.
    pub fn complete(&self, who: Who, op: OpId, answer: Answer) {
        self.push(Some(who), What::Return(op, answer));
    }

    /// Anything else that a client saw.
    pub fn saw(&self, who: Who, what: What) {
        self.push(Some(who), what);
    }

    /// Something that happened to the world.
    pub fn note(&self, note: impl Into<String>) {
        self.push(None, What::Note(note.into()));
    }

    fn push(&self, who: Option<Who>, what: What) {
        let event = Event { at: interpose::elapsed(), who, what };
        tracing::debug!(target: "history", "{event}");
        self.events.borrow_mut().push(event);
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.borrow().len()
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many calls have begun.
    pub fn calls(&self) -> u64 {
        *self.ops.borrow()
    }

    /// Looks at the events.
    pub fn look<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        look(&self.events.borrow())
    }
}
