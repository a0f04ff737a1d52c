//! Creating, listing and looking into queues.

use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::queues_client::QueuesClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::client::Client;
use crate::connect::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::leader::Failed;

/// How a subscription orders the messages it hands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Competing consumers; a returned message keeps its position.
    #[default]
    None,
    /// One active consumer; no message overtakes an earlier one.
    Total,
}

/// Settings of a queue's `default` subscription; `None` means the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Default [`Order::None`].
    pub order: Order,
    /// Length of a lease, 100 ms to 12 h. Default 30 s.
    pub lease: Option<Duration>,
    /// Backoff of a failed message: doubles from the first to the second, at most 30 days. Default 1 s to 60 s.
    pub backoff: Option<(Duration, Duration)>,
}

/// What to look at with [`Queues::peek`].
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

/// Administration of the queues of one namespace. Reads are linearizable.
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
        settings: QueueSettings,
    ) -> Result<v1::CreateQueueResponse, Error> {
        let request = v1::CreateQueueRequest {
            namespace: self.namespace(),
            name: name.to_owned(),
            default_subscription: Some(to_wire(settings)?),
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

fn to_wire(settings: QueueSettings) -> Result<v1::SubscriptionSettings, Error> {
    let (first, last) = settings.backoff.unzip();
    Ok(v1::SubscriptionSettings {
        order: match settings.order {
            Order::None => v1::Order::None.into(),
            Order::Total => v1::Order::Total.into(),
        },
        lease_ms: millis("lease", settings.lease)?,
        backoff_first_ms: millis("backoff", first)?,
        backoff_last_ms: millis("backoff", last)?,
    })
}

/// On the wire a zero means the default, so a zero that was asked for has to be refused here.
pub(crate) fn millis(what: &str, duration: Option<Duration>) -> Result<u64, Error> {
    match duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)) {
        Some(0) => Err(Error::Config(format!("{what}: at least 1 ms"))),
        Some(ms) => Ok(ms),
        None => Ok(0),
    }
}
