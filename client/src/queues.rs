//! Creating, listing and looking into queues.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_proto::v1;
use quorate_proto::v1::producer_client::ProducerClient;
use quorate_proto::v1::queues_client::QueuesClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::client::Client;
use crate::connect::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::leader::Failed;
use crate::reader::Reader;
use crate::settings::{QueueSettings, Start};

/// What to look at with [`Queues::peek`].
///
/// ```no_run
/// # use quorate_client::wire::MessageState;
/// # use quorate_client::{Client, Error, Peek};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let parked = Peek { state: Some(MessageState::Parked), ..Peek::default() };
/// for message in client.queues().peek("orders", &parked).await?.messages {
///     println!("{} after {} attempts", message.position, message.attempt);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// Empty means `default`.
    pub subscription: String,
    /// The first position; 0 means the oldest.
    pub from_position: u64,
    /// At most 1000; 0 means 20.
    pub count: u32,
    /// Only messages in this state; `None` means all that are not done.
    pub state: Option<v1::MessageState>,
}

/// Names a message of a queue: `7.into()`, `"invoice-7".into()`.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let queues = client.queues();
/// queues.cancel("reminders", 7).await?;
/// queues.cancel("reminders", "invoice-8").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// By its position.
    At(u64),
    /// By its id, which is unique in the queue.
    Id(String),
}

impl From<u64> for Which {
    fn from(position: u64) -> Self {
        Self::At(position)
    }
}

impl From<&str> for Which {
    fn from(id: &str) -> Self {
        Self::Id(id.into())
    }
}

/// Administration of the queues of one namespace. Reads are linearizable.
///
/// ```no_run
/// # use std::time::Duration;
/// # use quorate_client::{Client, Error, QueueSettings, Retain};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let retain = Retain { until_done: true, age: Some(Duration::from_secs(7 * 24 * 3600)), ..Retain::default() };
/// let settings = QueueSettings { retain, max_length: Some(1_000_000), ..QueueSettings::default() };
/// let queues = client.queues();
/// queues.create("orders", settings).await?; // no error if it exists with these settings
/// println!("{} to do", queues.stat("orders", "default").await?.length);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Queues {
    client: Client,
}

impl Queues {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a queue; the answer's `created` is false if the same queue was there already, be it from an attempt
    /// of this call whose answer was lost.
    ///
    /// # Errors
    /// Reasons `INVALID`, `QUEUE_EXISTS` (with other settings), `LIMIT_REACHED`; [`Error::NoLeader`];
    /// [`Error::Unknown`].
    pub async fn create(
        &self,
        name: &str,
        settings: impl Into<QueueSettings>,
    ) -> Result<v1::CreateQueueResponse, Error> {
        let settings = settings.into();
        let request = v1::CreateQueueRequest {
            namespace: self.namespace(),
            name: name.to_owned(),
            default_subscription: Some(settings.default_subscription.to_wire()?),
            settings: Some(settings.to_wire()?),
        };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).create(request).await?.into_inner()) }
        };
        Ok(self.client.router.call(self.deadline(), ask).await.map_err(Failed::of_change)?.value)
    }

    /// All queues, in the order of their names.
    ///
    /// # Errors
    /// Reason `UNKNOWN_NAMESPACE`; [`Error::NoLeader`].
    pub async fn list(&self) -> Result<Vec<v1::Queue>, Error> {
        let deadline = self.deadline();
        let mut queues: Vec<v1::Queue> = Vec::new();
        loop {
            let after = queues.last().map(|queue| queue.name.clone()).unwrap_or_default();
            let request = v1::ListQueuesRequest { namespace: self.namespace(), after, limit: 0 };
            let ask = |channel| {
                let request = request.clone();
                async move { Ok(grpc(channel).list(request).await?.into_inner()) }
            };
            let page = self.client.router.call(deadline, ask).await.map_err(|failed| failed.error)?.value;
            let more = page.more && !page.queues.is_empty();
            queues.extend(page.queues);
            if !more {
                return Ok(queues);
            }
        }
    }

    /// One queue, its settings and its figures.
    ///
    /// # Errors
    /// Reason `UNKNOWN_QUEUE`; [`Error::NoLeader`].
    pub async fn show(&self, name: &str) -> Result<v1::ShowQueueResponse, Error> {
        let request = v1::ShowQueueRequest { namespace: self.namespace(), name: name.to_owned() };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).show(request).await?.into_inner()) }
        };
        Ok(self.client.router.call(self.deadline(), ask).await.map_err(|failed| failed.error)?.value)
    }

    /// Deletes a queue and what it holds.
    ///
    /// # Errors
    /// Reason `UNKNOWN_QUEUE`; [`Error::NoLeader`]; [`Error::Unknown`], with the reason `UNKNOWN_QUEUE` if the queue
    /// is gone and an attempt of this call may have deleted it.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let request = v1::DeleteQueueRequest { namespace: self.namespace(), name: name.to_owned() };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).delete(request).await?.into_inner()) }
        };
        self.client.router.call(self.deadline(), ask).await.map(drop).map_err(Failed::of_change)
    }

    /// Replaces a queue's own settings, if `revision` is the one that [`Queues::show`] showed, or 0. Returns the new one.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `INVALID`, `REVISION_CHANGED`; [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn update(&self, name: &str, settings: v1::QueueSettings, revision: u64) -> Result<u64, Error> {
        let request = v1::UpdateQueueRequest {
            namespace: self.namespace(),
            name: name.to_owned(),
            settings: Some(settings),
            revision,
        };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).update(request).await?.into_inner()) }
        };
        Ok(self.client.router.call(self.deadline(), ask).await.map_err(Failed::of_change)?.value.revision)
    }

    /// In every subscription, whatever no consumer holds is done.
    ///
    /// # Errors
    /// Reason `UNKNOWN_QUEUE`; [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn purge(&self, name: &str) -> Result<(), Error> {
        let request = v1::PurgeQueueRequest { namespace: self.namespace(), name: name.to_owned() };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).purge(request).await?.into_inner()) }
        };
        self.client.router.call(self.deadline(), ask).await.map(drop).map_err(Failed::of_change)
    }

    /// Takes a message that is not due yet out of a queue.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `UNKNOWN_MESSAGE`, `NOT_DELAYED` (it is due by now); [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn cancel(&self, queue: &str, message: impl Into<Which>) -> Result<(), Error> {
        self.change_time(queue, message.into(), 0).await
    }

    /// Has a message that is not due yet fall due at another time, by the cluster's clock.
    ///
    /// # Errors
    /// As [`Queues::cancel`].
    pub async fn reschedule(
        &self,
        queue: &str,
        message: impl Into<Which>,
        at: SystemTime,
    ) -> Result<(), Error> {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.change_time(queue, message.into(), u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1))
            .await
    }

    async fn change_time(&self, queue: &str, message: Which, deliver_at_ms: u64) -> Result<(), Error> {
        let (position, id) = match message {
            Which::At(position) => (position, String::new()),
            Which::Id(id) => (0, id),
        };
        let request = v1::RescheduleRequest {
            namespace: self.namespace(),
            queue: queue.to_owned(),
            position,
            deliver_at_ms,
            id,
        };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).reschedule(request).await?.into_inner()) }
        };
        self.client.router.call(self.deadline(), ask).await.map(drop).map_err(Failed::of_change)
    }

    /// Looks at messages without leasing them, in the order of their positions.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`, `INVALID`; [`Error::NoLeader`].
    pub async fn peek(&self, queue: &str, what: &Peek) -> Result<v1::PeekResponse, Error> {
        let request = v1::PeekRequest {
            namespace: self.namespace(),
            queue: queue.to_owned(),
            subscription: what.subscription.clone(),
            from_position: what.from_position,
            count: what.count,
            state: what.state.unwrap_or_default().into(),
        };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).peek(request).await?.into_inner()) }
        };
        Ok(self.client.router.call(self.deadline(), ask).await.map_err(|failed| failed.error)?.value)
    }

    /// Reads what a queue stores like a log, from a start on, whoever is done with it: at most `count` messages, 0 meaning all. With
    /// `follow` it waits at the end for new ones.
    pub fn read(&self, queue: &str, start: Start, count: u64, follow: bool) -> Reader {
        Reader::new(self.client.clone(), queue, start, count, follow)
    }

    /// The producer sessions that are remembered, in the order of their names.
    ///
    /// # Errors
    /// Reason `UNKNOWN_NAMESPACE`; [`Error::NoLeader`].
    pub async fn producers(&self) -> Result<Vec<v1::ProducerSession>, Error> {
        let deadline = self.deadline();
        let mut sessions: Vec<v1::ProducerSession> = Vec::new();
        loop {
            let after = sessions.last().map(|session| session.name.clone()).unwrap_or_default();
            let request = v1::ListProducersRequest { namespace: self.namespace(), after, limit: 0 };
            let ask = |channel| {
                let request = request.clone();
                async move { Ok(ProducerClient::new(channel).list(request).await?.into_inner()) }
            };
            let page = self.client.router.call(deadline, ask).await.map_err(|failed| failed.error)?.value;
            let more = page.more && !page.sessions.is_empty();
            sessions.extend(page.sessions);
            if !more {
                return Ok(sessions);
            }
        }
    }

    /// Exact figures of a subscription; an empty name means `default`.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`; [`Error::NoLeader`].
    pub async fn stat(&self, queue: &str, subscription: &str) -> Result<v1::StatResponse, Error> {
        let request = v1::StatRequest {
            namespace: self.namespace(),
            queue: queue.to_owned(),
            subscription: subscription.to_owned(),
        };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).stat(request).await?.into_inner()) }
        };
        Ok(self.client.router.call(self.deadline(), ask).await.map_err(|failed| failed.error)?.value)
    }

    fn namespace(&self) -> String {
        self.client.namespace.to_string()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.client.timeout
    }
}

fn grpc(channel: Channel) -> QueuesClient<Channel> {
    QueuesClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}
