//! Settings of queues and subscriptions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quorate_proto::v1;

use crate::error::Error;

/// How a subscription orders the messages it hands out.
///
/// ```no_run
/// # use quorate_client::{Error, Order, SubscriptionSettings};
/// # async fn example() -> Result<(), Error> {
/// let settings = SubscriptionSettings { order: Order::Key, ..SubscriptionSettings::default() };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Competing consumers; a returned message keeps its position.
    #[default]
    None,
    /// One active consumer; no message overtakes an earlier one.
    Total,
    /// The same inside each key; keys run in parallel over any number of consumers. A message without a key is a key of its own.
    Key,
}

/// What becomes of a message that has failed too often.
///
/// ```no_run
/// # use quorate_client::{Error, OnExhausted, Order, SubscriptionSettings};
/// # async fn example() -> Result<(), Error> {
/// let settings = SubscriptionSettings {
///     order: Order::Key,
///     max_attempts: Some(5),
///     on_exhausted: Some(OnExhausted::ParkKey),
///     ..SubscriptionSettings::default()
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It is parked, and in nobody's way.
    #[default]
    Park,
    /// It is parked, and so is whatever follows it under its key; only with [`Order::Key`].
    ParkKey,
    /// It is parked where it stands: what follows it in its order waits. Not with [`Order::None`].
    Block,
    /// It is done.
    Discard,
}

/// Which messages a subscription takes: those that match everything that is given.
///
/// ```no_run
/// # use quorate_client::{Error, Filter, SubscriptionSettings};
/// # async fn example() -> Result<(), Error> {
/// let gold = Filter {
///     subject: "orders.*.created".into(),
///     headers: vec![("tier".into(), "gold".into())],
/// };
/// let settings = SubscriptionSettings { filter: Some(gold), ..SubscriptionSettings::default() };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A pattern of subjects: tokens between dots, `*` for any one token, a last `>` for one or more, such as
    /// `orders.*.created` or `orders.>`. Empty: any subject.
    pub subject: String,
    /// Headers that a message must have, with these values; at most 16.
    pub headers: Vec<(String, Bytes)>,
}

/// Settings of a subscription; what is not given is the default.
///
/// ```no_run
/// # use std::time::Duration;
/// # use quorate_client::{Client, Error, Order, SubscriptionSettings};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let settings = SubscriptionSettings {
///     order: Order::Key,
///     lease: Some(Duration::from_secs(60)),
///     backoff: Some((Duration::from_secs(1), Duration::from_secs(300))),
///     max_attempts: Some(10), // then it is parked
///     ..SubscriptionSettings::default()
/// };
/// client.queues().create("payments", settings).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionSettings {
    /// Default [`Order::None`]. Stays as it was set.
    pub order: Order,
    /// Length of a lease, 100 ms to 12 h. Default 30 s.
    pub lease: Option<Duration>,
    /// Backoff of a failed message: doubles from the first to the second, at most 30 days. Default 1 s to 60 s.
    pub backoff: Option<(Duration, Duration)>,
    /// By how many percent a backoff may be shorter, at random; 0 to 100. Default 20.
    pub jitter_percent: Option<u8>,
    /// A message that failed so often is exhausted, at least 1. Default: none ever is.
    pub max_attempts: Option<u32>,
    /// What becomes of exhausted messages; only with `max_attempts`. Default [`OnExhausted::Park`].
    pub on_exhausted: Option<OnExhausted>,
    /// How many messages of one key may be leased at once, 1 to 256; only with [`Order::Key`]. Default 1. Stays as it was set.
    pub per_key_inflight: Option<u32>,
    /// Messages are acknowledged before they are sent: at most once. Concerns consumers that attach from then on.
    pub auto_ack: bool,
    /// Most messages that it may have, at least 1, so that a forgotten subscription cannot fill the disk. Default: no limit.
    pub max_lag: Option<u64>,
    /// What happens to a publish that would make it lag further; only with `max_lag`. Default [`OnFull::Reject`].
    pub on_lag: Option<OnFull>,
    /// Which messages it takes. Default: all of them.
    pub filter: Option<Filter>,
}

/// What happens to a publish that a queue or subscription has no room for.
///
/// ```no_run
/// # use quorate_client::{Error, OnFull, QueueSettings};
/// # async fn example() -> Result<(), Error> {
/// let settings = QueueSettings {
///     max_length: Some(10_000),
///     on_full: Some(OnFull::DropOldest),
///     ..QueueSettings::default()
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It is refused with the reason `QUEUE_FULL`.
    #[default]
    Reject,
    /// The oldest messages make room, whoever holds them. Refused is only a message that alone is bigger than `max_bytes`.
    DropOldest,
}

/// Settings of a queue; what is not given is the default.
///
/// ```no_run
/// # use std::time::Duration;
/// # use quorate_client::{Client, Error, QueueSettings};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let settings = QueueSettings {
///     ttl: Some(Duration::from_secs(3600)),
///     max_length: Some(1_000_000),
///     routes: vec!["orders.*.created".into()],
///     ..QueueSettings::default()
/// };
/// client.queues().create("orders", settings).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Settings of its subscription `default`.
    pub default_subscription: SubscriptionSettings,
    /// How long after it was due a message expires that does not say so itself; at most 10 years. Default: never.
    pub ttl: Option<Duration>,
    /// Whether messages may have a priority. Not together with an order.
    pub priorities: bool,
    /// Most messages that any of its subscriptions may have, at least 1. Default: no limit.
    pub max_length: Option<u64>,
    /// Most encoded bytes of messages that any of its subscriptions may have, at least 1. Default: no limit.
    pub max_bytes: Option<u64>,
    /// What happens to a publish that there is no room for; only with a limit. Default [`OnFull::Reject`].
    pub on_full: Option<OnFull>,
    /// When its messages leave the disk. Default: when every subscription is done with them.
    pub retain: Retain,
    /// Patterns of subjects, such as `orders.*.created` or `orders.>`, at most 16: what is published to a subject that one of them matches
    /// ([`crate::Transaction::route`]) gets into the queue.
    pub routes: Vec<String>,
}

/// When messages leave the disk: the batches in which they were published, each as a whole. All but `until_done` are bounds, and a batch is within them as
/// long as each that is given keeps it. Without any of them it is `until_done`.
///
/// ```no_run
/// # use std::time::Duration;
/// # use quorate_client::{Error, Retain};
/// # async fn example() -> Result<(), Error> {
/// let week = Duration::from_secs(7 * 24 * 3600);
/// let log = Retain::for_time(week); // whoever is not done with it
/// let replayable = Retain { until_done: true, age: Some(week), ..Retain::default() };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retain {
    /// Nothing leaves that some subscription is not done with; what is within the bounds stays even then, and can be read again. Without it a batch leaves as
    /// soon as it is not within the bounds, whoever is not done with it or holds it.
    pub until_done: bool,
    /// Keeps what was published less than so long ago, 1 ms to 10 years.
    pub age: Option<Duration>,
    /// Keeps what fewer than so many encoded bytes were published after, at least 1.
    pub bytes: Option<u64>,
    /// Keeps what fewer than so many messages were published after, at least 1.
    pub count: Option<u64>,
    /// Keeps the latest message of each key; a message without one is refused. Stays as it was set.
    pub latest_per_key: bool,
}

impl Retain {
    /// Until every subscription is done with them.
    pub fn until_done() -> Self {
        Self { until_done: true, ..Self::default() }
    }

    /// For a time; a log.
    pub fn for_time(age: Duration) -> Self {
        Self { age: Some(age), ..Self::default() }
    }

    /// So many bytes; a log.
    pub fn size(bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..Self::default() }
    }

    /// So many messages; a log.
    pub fn count(count: u64) -> Self {
        Self { count: Some(count), ..Self::default() }
    }

    /// The latest message of each key; a log.
    pub fn latest_per_key() -> Self {
        Self { latest_per_key: true, ..Self::default() }
    }

    /// On the wire.
    ///
    /// # Errors
    /// [`Error::Config`] if a bound is zero.
    pub fn to_wire(&self) -> Result<v1::Retain, Error> {
        Ok(v1::Retain {
            until_done: self.until_done,
            for_ms: millis("retain", self.age)?,
            bytes: at_least_one("retain", self.bytes)?,
            count: at_least_one("retain", self.count)?,
            latest_per_key: self.latest_per_key,
        })
    }
}

/// Settings of a queue of which only those of its subscription `default` matter.
impl From<SubscriptionSettings> for QueueSettings {
    fn from(default_subscription: SubscriptionSettings) -> Self {
        Self { default_subscription, ..Self::default() }
    }
}

/// Where a subscription begins.
///
/// ```no_run
/// # use std::time::{Duration, SystemTime};
/// # use quorate_client::{Client, Error, Start};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
/// client.subscriptions("orders").seek("audit", Start::Time(yesterday)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first message that the queue stores.
    #[default]
    Earliest,
    /// After the last message.
    Latest,
    /// At a position that the queue stores, or its next one.
    Position(u64),
    /// At the first message that was published at this time or later.
    Time(SystemTime),
}

/// Parked messages that match everything that is given.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Selector};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let of_zoe = Selector { key: Some("zoe".into()), ..Selector::default() };
/// let redriven = client.subscriptions("invoices").redrive("default", &of_zoe, 100).await?;
/// println!("{} messages", redriven.messages);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// 0: from the first.
    pub from_position: u64,
    /// This one included; 0: to the last.
    pub to_position: u64,
    /// Of this key.
    pub key: Option<Bytes>,
    /// Matching this.
    pub filter: Option<Filter>,
}

impl Selector {
    pub(crate) fn to_wire(&self) -> v1::Selector {
        v1::Selector {
            from_position: self.from_position,
            to_position: self.to_position,
            key: self.key.clone(),
            filter: self.filter.as_ref().map(Filter::to_wire),
        }
    }
}

impl Filter {
    fn to_wire(&self) -> v1::Filter {
        let header =
            |(name, value): &(String, Bytes)| v1::Header { name: name.clone(), value: value.clone() };
        v1::Filter { subject: self.subject.clone(), headers: self.headers.iter().map(header).collect() }
    }
}

impl Start {
    pub(crate) fn to_wire(self) -> v1::Start {
        use v1::start::Start as Wire;
        let start = match self {
            Self::Earliest => Wire::Earliest(v1::Earliest {}),
            Self::Latest => Wire::Latest(v1::Latest {}),
            Self::Position(position) => Wire::Position(position),
            Self::Time(time) => {
                let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                Wire::TimeMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
        };
        v1::Start { start: Some(start) }
    }
}

impl SubscriptionSettings {
    pub(crate) fn to_wire(&self) -> Result<v1::SubscriptionSettings, Error> {
        let (first, last) = self.backoff.unzip();
        let order = match self.order {
            Order::None => v1::Order::None,
            Order::Total => v1::Order::Total,
            Order::Key => v1::Order::Key,
        };
        let on_exhausted = match self.on_exhausted {
            None => v1::OnExhausted::Unspecified,
            Some(OnExhausted::Park) => v1::OnExhausted::Park,
            Some(OnExhausted::ParkKey) => v1::OnExhausted::ParkKey,
            Some(OnExhausted::Block) => v1::OnExhausted::Block,
            Some(OnExhausted::Discard) => v1::OnExhausted::Discard,
        };
        Ok(v1::SubscriptionSettings {
            order: order.into(),
            lease_ms: millis("lease", self.lease)?,
            backoff_first_ms: millis("backoff", first)?,
            backoff_last_ms: millis("backoff", last)?,
            jitter_percent: self.jitter_percent.map(u32::from),
            max_attempts: at_least_one("max_attempts", self.max_attempts)?,
            on_exhausted: on_exhausted.into(),
            per_key_inflight: at_least_one("per_key_inflight", self.per_key_inflight)?,
            auto_ack: self.auto_ack,
            max_lag: at_least_one("max_lag", self.max_lag)?,
            on_lag: full(self.on_lag).into(),
            filter: self.filter.as_ref().map(Filter::to_wire),
        })
    }
}

impl QueueSettings {
    pub(crate) fn to_wire(&self) -> Result<v1::QueueSettings, Error> {
        Ok(v1::QueueSettings {
            ttl_ms: millis("ttl", self.ttl)?,
            priorities: self.priorities,
            max_length: at_least_one("max_length", self.max_length)?,
            max_bytes: at_least_one("max_bytes", self.max_bytes)?,
            on_full: full(self.on_full).into(),
            retain: Some(self.retain.to_wire()?),
            routes: self.routes.clone(),
        })
    }
}

fn full(on_full: Option<OnFull>) -> v1::OnFull {
    match on_full {
        None => v1::OnFull::Unspecified,
        Some(OnFull::Reject) => v1::OnFull::Reject,
        Some(OnFull::DropOldest) => v1::OnFull::DropOldest,
    }
}

/// On the wire a zero means the default, so a zero that was asked for has to be refused here.
pub(crate) fn millis(what: &str, duration: Option<Duration>) -> Result<u64, Error> {
    match duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)) {
        Some(0) => Err(Error::Config(format!("{what}: at least 1 ms"))),
        Some(ms) => Ok(ms),
        None => Ok(0),
    }
}

fn at_least_one<T: Default + PartialEq>(what: &str, number: Option<T>) -> Result<T, Error> {
    match number {
        Some(number) if number == T::default() => Err(Error::Config(format!("{what}: at least 1"))),
        number => Ok(number.unwrap_or_default()),
    }
}
