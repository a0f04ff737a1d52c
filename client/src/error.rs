//! The one error type of the client.

use std::fmt;
use std::time::Duration;

use crate::consumer::Undecodable;

/// What went wrong, and through [`Error::retryable`] and [`Error::action`] what to do about it.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Reason};
/// # async fn example(client: Client) -> Result<(), Error> {
/// match client.queues().delete("orders").await {
///     Err(error) if error.reason() == Some(&Reason::UnknownQueue) => println!("it is gone already"),
///     Err(error) if error.retryable() => println!("later: {error}"),
///     Err(error) => eprintln!("{error}; what to do: {}", error.action()),
///     Ok(()) => println!("it is gone"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client was built with values that cannot work.
    #[error("{0}")]
    Config(String),
    /// No endpoint led to a leader that can commit. What was asked for did not happen.
    #[error("no leader found within {}: {}", seconds(waited), each(answers))]
    NoLeader {
        /// How long the client looked.
        waited: Duration,
        /// What each endpoint answered last.
        answers: Vec<EndpointAnswer>,
    },
    /// The deadline passed while a leader was there. What was asked for may or may not have happened.
    #[error("out of time after {}: {last}", seconds(waited))]
    OutOfTime {
        /// How long the client tried.
        waited: Duration,
        /// The last obstacle.
        last: String,
    },
    /// The server refused the request; nothing happened.
    #[error("{0}")]
    Refused(Refusal),
    /// The lease is no longer current: it expired, was revoked, or was settled before. What the worker did for
    /// this message may be done again by another.
    #[error("the lease of message {position} is no longer current: it expired, was revoked, or was settled")]
    StaleLease {
        /// Position of the message.
        position: u64,
    },
    /// The stream was lost after a settle was sent, and its fate cannot be told: it took effect, or the lease
    /// was lost.
    #[error("whether message {position} was settled is not known: the connection was lost before the answer")]
    SettleUnknown {
        /// Position of the message.
        position: u64,
    },
    /// The request was sent and no answer came: a message may or may not have been stored, a change may or may not
    /// have been made. Opening the producer session again by its name tells of messages, through `last_seq`.
    #[error("outcome unknown, the request may or may not have been applied: {cause}")]
    Unknown {
        /// Why no answer came, or what an attempt after it was answered.
        cause: Box<Error>,
    },
    /// A value could not be encoded; nothing was sent.
    #[error("the value cannot be encoded: {0}")]
    Encode(String),
    /// A body could not be decoded. The message is leased, and in there.
    #[error("the body of message {} cannot be decoded: {}", .0.position(), .0.problem())]
    Decode(Undecodable),
    /// A stored value is not of the type that it was asked for as.
    #[error("{what} is not of the type that was asked for: {problem}")]
    WrongType {
        /// Which value.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The producer or consumer was closed or dropped.
    #[error("the {0} is closed")]
    Closed(&'static str),
    /// The server broke the protocol, or answered with something that this version does not know.
    #[error("unexpected answer from the server: {0}")]
    Protocol(String),
}

impl Error {
    /// Whether the same call may succeed later without a change. False where the outcome is unknown.
    pub fn retryable(&self) -> bool {
        match self {
            Self::NoLeader { .. } => true,
            Self::Refused(refusal) => refusal.retry,
            Self::Config(_)
            | Self::OutOfTime { .. }
            | Self::StaleLease { .. }
            | Self::SettleUnknown { .. }
            | Self::Unknown { .. }
            | Self::Encode(_)
            | Self::Decode(_)
            | Self::WrongType { .. }
            | Self::Closed(_)
            | Self::Protocol(_) => false,
        }
    }

    /// What to do about it, for people.
    pub fn action(&self) -> String {
        match self {
            Self::Config(_) => "correct the client's configuration".into(),
            Self::NoLeader { .. } => {
                "check that a majority of the nodes runs and that they reach each other, then try again"
                    .into()
            }
            Self::OutOfTime { .. } => "check the outcome before repeating it, or allow more time".into(),
            Self::Refused(refusal) => refusal.action.clone(),
            Self::StaleLease { .. } => {
                "expect the message to be delivered again; extend leases that work takes longer than".into()
            }
            Self::SettleUnknown { .. } => {
                "expect that the message may be delivered again; fence side effects with its token".into()
            }
            Self::Unknown { .. } => {
                let first = match self.is_no_leader() {
                    true => "check that a majority of the nodes runs and that they reach each other, then ",
                    false => "",
                };
                format!(
                    "{first}look whether it took effect before repeating it; for messages, open the producer \
                     session again by its name and compare last_seq"
                )
            }
            Self::Encode(_) => "correct the value".into(),
            Self::Decode(_) => {
                "take the message out of the error and settle it: park it, or correct the consumer's type and retry it"
                    .into()
            }
            Self::WrongType { .. } => "ask for the type that it was written as, or take its bytes".into(),
            Self::Closed(what) => format!("open a new {what}"),
            Self::Protocol(_) => "check that client and server versions go together".into(),
        }
    }

    /// The server's reason, where it gave one.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Refused(refusal) => Some(&refusal.reason),
            Self::StaleLease { .. } => Some(&Reason::StaleLease),
            Self::Unknown { cause } => cause.reason(),
            _ => None,
        }
    }

    /// The facts that a server gave with its refusal, by their names.
    pub fn details(&self) -> Option<&Details> {
        match self {
            Self::Refused(refusal) => Some(&refusal.details),
            Self::Unknown { cause } => cause.details(),
            _ => None,
        }
    }

    /// As the cause of an outcome that is not known.
    pub(crate) fn unknown(self) -> Self {
        match self {
            Self::Unknown { .. } => self,
            cause => Self::Unknown { cause: Box::new(cause) },
        }
    }

    /// Whether the cause is that no leader could be reached.
    pub fn is_no_leader(&self) -> bool {
        match self {
            Self::NoLeader { .. } => true,
            Self::Unknown { cause } => cause.is_no_leader(),
            _ => false,
        }
    }

    /// Whether the cause is that time ran out while a leader was there.
    pub fn is_out_of_time(&self) -> bool {
        match self {
            Self::OutOfTime { .. } => true,
            Self::Unknown { cause } => cause.is_out_of_time(),
            _ => false,
        }
    }
}

/// What one endpoint said when it was asked for a leader.
///
/// ```no_run
/// # use quorate_client::{Client, EndpointAnswer, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// if let Err(Error::NoLeader { answers, .. }) = client.queues().list().await {
///     for EndpointAnswer { endpoint, answer } in answers {
///         eprintln!("{endpoint}: {answer}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAnswer {
    /// `host:port` of its client API.
    pub endpoint: String,
    /// Its last answer, or why there was none.
    pub answer: String,
}

/// A request, or a part of one, that the server refused.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// if let Err(Error::Refused(refusal)) = client.queues().delete("orders").await {
///     eprintln!("{}: {}; {}", refusal.reason, refusal.message, refusal.action);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable name of the reason.
    pub reason: Reason,
    /// What happened and why, for people.
    pub message: String,
    /// What to do about it.
    pub action: String,
    /// Whether the same request may succeed later without a change.
    pub retry: bool,
    /// The facts of the message by their names, such as `field`, `queue`, `limit` and `found`: docs/protocol.md says which reason has
    /// which.
    pub details: Details,
    /// With [`Reason::PreconditionFailed`]: what the transaction needed, and is not the case.
    pub unmet: Option<Unmet>,
}

/// Facts of a refusal by their names, in the order of these.
///
/// ```
/// # use quorate_client::Details;
/// let details: Details = [("limit", "128"), ("field", "name")].into_iter().collect();
/// assert_eq!(details.get("limit"), Some("128"));
/// assert_eq!(details.iter().next(), Some(("field", "name")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Details(Box<[(String, String)]>);

impl Details {
    /// The fact of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes a fact out.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let (taken, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|(known, _)| known == name);
        self.0 = rest.into();
        taken.into_iter().next().map(|(_, value)| value)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Details {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(facts: I) -> Self {
        let mut facts: Vec<(String, String)> =
            facts.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        facts.sort();
        Self(facts.into())
    }
}

/// What a transaction needed, and is not the case.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Refusal, Unmet};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let step = client.transaction().require_version("order/7", 3).put("order/7", "charged");
/// match step.commit().await {
///     Err(Error::Refused(Refusal { unmet: Some(Unmet::Require { found, .. }), .. })) => {
///         println!("somebody was here: it has version {found} by now");
///     }
///     done => println!("versions {:?}", done?.versions),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unmet {
    /// A requirement.
    Require {
        /// Its number in the order in which requirements were added, counted from 0.
        nth: usize,
        /// What is the case: the version of the key, the last position of the queue, the length of the subscription, or the position of the
        /// message that is not leased.
        found: u64,
    },
    /// A lease that was to be settled is not current.
    Lease {
        /// Its number in the order in which leases were added, counted from 0.
        nth: usize,
        /// Position of the message.
        position: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() { f.write_str(self.reason.as_str()) } else { f.write_str(&self.message) }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a server refused, by its stable name on the wire.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
            /// A reason that this version of the client does not know.
            Other(String),
        }

        impl Reason {
            /// The name on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// Reads the name on the wire.
            pub fn from_wire(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

reasons! {
    /// The node does not lead; another one does, or an election is on.
    NotLeader = "NOT_LEADER",
    /// No majority answers.
    NoQuorum = "NO_QUORUM",
    /// The leader was lost after it took the request.
    Unknown = "UNKNOWN",
    /// No such namespace.
    UnknownNamespace = "UNKNOWN_NAMESPACE",
    /// No such queue.
    UnknownQueue = "UNKNOWN_QUEUE",
    /// No such subscription.
    UnknownSubscription = "UNKNOWN_SUBSCRIPTION",
    /// A queue of that name exists with other settings.
    QueueExists = "QUEUE_EXISTS",
    /// A subscription of that name exists with other settings.
    SubscriptionExists = "SUBSCRIPTION_EXISTS",
    /// The settings were changed since they were read.
    RevisionChanged = "REVISION_CHANGED",
    /// A queue has at least one subscription.
    LastSubscription = "LAST_SUBSCRIPTION",
    /// The position is outside what the queue stores.
    OutOfRange = "OUT_OF_RANGE",
    /// A limit of the queue's settings is reached.
    QueueFull = "QUEUE_FULL",
    /// No queue has a route for the subject.
    Unroutable = "UNROUTABLE",
    /// A transaction needs what is not the case.
    PreconditionFailed = "PRECONDITION_FAILED",
    /// No subscription has that message.
    UnknownMessage = "UNKNOWN_MESSAGE",
    /// The message is due already.
    NotDelayed = "NOT_DELAYED",
    /// A field is out of its range.
    Invalid = "INVALID",
    /// A limit is reached.
    LimitReached = "LIMIT_REACHED",
    /// The producer session expired or was closed.
    UnknownProducer = "UNKNOWN_PRODUCER",
    /// Somebody opened the producer session again.
    ProducerFenced = "PRODUCER_FENCED",
    /// A batch before this one is missing or was refused.
    SequenceGap = "SEQUENCE_GAP",
    /// A receipt was asked for that the producer had said it has.
    ReceiptForgotten = "RECEIPT_FORGOTTEN",
    /// The consumer session ended.
    UnknownConsumer = "UNKNOWN_CONSUMER",
    /// The consumer session was attached again.
    ConsumerFenced = "CONSUMER_FENCED",
    /// The lease is not current.
    StaleLease = "STALE_LEASE",
    /// The message was never leased under this token.
    NeverLeased = "NEVER_LEASED",
    /// The disk's quota is used up.
    NoSpace = "NO_SPACE",
    /// The server has more work than it can take.
    Overloaded = "OVERLOADED",
    /// No such member.
    UnknownMember = "UNKNOWN_MEMBER",
    /// The cluster would stand still without the member.
    QuorumAtRisk = "QUORUM_AT_RISK",
    /// The node is about to stop.
    ShuttingDown = "SHUTTING_DOWN",
    /// A fault of the node; its log says more.
    Internal = "INTERNAL",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn seconds(duration: &Duration) -> String {
    let ms = duration.as_millis();
    if ms.is_multiple_of(1000) { format!("{} s", ms / 1000) } else { format!("{ms} ms") }
}

fn each(answers: &[EndpointAnswer]) -> String {
    if answers.is_empty() {
        return "no endpoint was asked in time".into();
    }
    let all: Vec<String> = answers.iter().map(|a| format!("{} {}", a.endpoint, a.answer)).collect();
    all.join("; ")
}
