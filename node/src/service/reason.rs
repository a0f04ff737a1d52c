//! The stable names of what can go wrong, the same in every protocol, and what each means for whoever asked.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $retry:literal, $action:literal;)*) => {
        /// Why something was not done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its stable name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// Whether the same request may succeed later without a change.
            pub const fn retry(self) -> bool {
                match self {
                    $(Self::$variant => $retry,)*
                }
            }

            /// What to do about it, where nothing more is known.
            pub const fn action(self) -> &'static str {
                match self {
                    $(Self::$variant => $action,)*
                }
            }
        }
    };
}

reasons! {
    /// Another node leads the shard.
    NotLeader = "NOT_LEADER", true, "ask the leader";
    /// No leader is known that a majority follows.
    NoQuorum = "NO_QUORUM", true, "bring back the members that are down, then retry";
    /// The node is about to stop.
    ShuttingDown = "SHUTTING_DOWN", true, "go on at another node";
    /// A bound on a node's memory is reached.
    Overloaded = "OVERLOADED", true, "send it again after a pause";
    /// It may have taken effect, or not.
    Unknown = "UNKNOWN", true, "repeat it under the same session: what took effect is not done twice";
    /// A field is out of its range.
    Invalid = "INVALID", false, "correct the request";
    /// No such namespace.
    UnknownNamespace = "UNKNOWN_NAMESPACE", false, "use the namespace \"default\"";
    /// No such queue.
    UnknownQueue = "UNKNOWN_QUEUE", false, "create the queue first";
    /// No such subscription.
    UnknownSubscription = "UNKNOWN_SUBSCRIPTION", false, "create the subscription first";
    /// No such message.
    UnknownMessage = "UNKNOWN_MESSAGE", false, "look with `quorate peek` at what there is";
    /// No such producer session.
    UnknownProducer = "UNKNOWN_PRODUCER", false, "open a new session; what has no receipt is unknown";
    /// No such consumer session.
    UnknownConsumer = "UNKNOWN_CONSUMER", false, "attach with a new session";
    /// No such member.
    UnknownMember = "UNKNOWN_MEMBER", false, "look at `quorate cluster status`";
    /// A queue of that name exists with other settings.
    QueueExists = "QUEUE_EXISTS", false, "choose another name, or delete the queue first";
    /// A subscription of that name exists with other settings.
    SubscriptionExists = "SUBSCRIPTION_EXISTS", false, "choose another name, or update the subscription";
    /// The settings were changed since they were read.
    RevisionChanged = "REVISION_CHANGED", false, "read the settings again, then apply the change to them";
    /// A queue keeps at least one subscription.
    LastSubscription = "LAST_SUBSCRIPTION", false, "create another one first";
    /// The message is due already.
    NotDelayed = "NOT_DELAYED", false, "only a message that is due nowhere yet can be cancelled or moved";
    /// The position is outside of what the queue stores.
    OutOfRange = "OUT_OF_RANGE", false, "choose a position that the queue stores, or earliest or latest";
    /// A limit of the queue's settings is reached.
    QueueFull = "QUEUE_FULL", false, "consume or discard messages, or raise the queue's limit, then publish again";
    /// A limit of the product is reached.
    LimitReached = "LIMIT_REACHED", false, "remove some, or use several namespaces";
    /// Disks are nearly full.
    NoSpace = "NO_SPACE", true, "consume or delete messages, or give the data directory more room; settling goes on";
    /// No queue has a route for the subject.
    Unroutable = "UNROUTABLE", false, "give a queue a route for it (`quorate queue update --route`), or correct the subject";
    /// A transaction requires what is not the case.
    PreconditionFailed = "PRECONDITION_FAILED", false, "read the current values again, then retry with them";
    /// Another producer opened the session.
    ProducerFenced = "PRODUCER_FENCED", false, "use one producer for a session name";
    /// A batch is missing before this one.
    SequenceGap = "SEQUENCE_GAP", false, "send again from the first batch without a receipt";
    /// The producer had said that it has the receipt.
    ReceiptForgotten = "RECEIPT_FORGOTTEN", false, "acknowledge only receipts that you keep";
    /// Another stream attached the consumer session.
    ConsumerFenced = "CONSUMER_FENCED", false, "use one stream for a session";
    /// The lease is not current.
    StaleLease = "STALE_LEASE", false, "drop the work: the message is or was leased again";
    /// The token never was the message's.
    NeverLeased = "NEVER_LEASED", false, "settle only what was delivered, with its token";
    /// Without that member the cluster would stand still.
    QuorumAtRisk = "QUORUM_AT_RISK", false, "bring the other members back, or let new ones join, then remove it";
    /// A member does not read the version, or does not say so.
    VersionNotRead = "VERSION_NOT_READ", false, "start it with a newer program, or remove it; `quorate cluster version` shows all members";
    /// A fault of the node.
    Internal = "INTERNAL", false, "look at the node's log";
}
