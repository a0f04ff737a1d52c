//! The subscriptions of a queue.

use quorate_proto::v1;
use quorate_proto::v1::subscriptions_client::SubscriptionsClient;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::leader::Failed;
use crate::settings::{Selector, Start, SubscriptionSettings};

/// Administration of the subscriptions of one queue. An empty name means `default`, but where one is created or deleted.
///
/// ```no_run
/// # use quorate_client::{Client, Error, Filter, Start, SubscriptionSettings};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let subscriptions = client.subscriptions("orders");
/// let eu = Filter { subject: "orders.eu.>".into(), ..Filter::default() };
/// let settings = SubscriptionSettings { filter: Some(eu), ..SubscriptionSettings::default() };
/// subscriptions.create("audit", &settings, Start::Earliest).await?;
/// subscriptions.seek("audit", Start::Position(100)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Subscriptions {
    client: Client,
    queue: String,
}

/// One unary call at the leader, again if it moved.
macro_rules! call {
    ($self:ident, $method:ident, $request:expr, $failed:expr) => {{
        let request = $request;
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(SubscriptionsClient::new(channel).$method(request).await?.into_inner()) }
        };
        let deadline = Instant::now() + $self.client.timeout;
        $self.client.router.call(deadline, ask).await.map_err($failed)?.value
    }};
}

impl Subscriptions {
    pub(crate) fn new(client: Client, queue: String) -> Self {
        Self { client, queue }
    }

    fn namespace(&self) -> String {
        self.client.namespace.to_string()
    }

    /// Adds a subscription; the answer's `created` is false if the same one was there already, wherever it has got to.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `INVALID`, `SUBSCRIPTION_EXISTS` (with other settings), `OUT_OF_RANGE` (the start), `LIMIT_REACHED`;
    /// [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn create(
        &self,
        name: &str,
        settings: &SubscriptionSettings,
        start: Start,
    ) -> Result<v1::CreateSubscriptionResponse, Error> {
        let request = v1::CreateSubscriptionRequest {
            namespace: self.namespace(),
            queue: self.queue.clone(),
            name: name.to_owned(),
            settings: Some(settings.to_wire()?),
            start: Some(start.to_wire()),
        };
        Ok(call!(self, create, request, Failed::of_change))
    }

    /// All subscriptions of the queue, in the order of their names.
    ///
    /// # Errors
    /// Reason `UNKNOWN_QUEUE`; [`Error::NoLeader`].
    pub async fn list(&self) -> Result<Vec<v1::Subscription>, Error> {
        let request = v1::ListSubscriptionsRequest { namespace: self.namespace(), queue: self.queue.clone() };
        Ok(call!(self, list, request, |failed: Failed| failed.error).subscriptions)
    }

    /// Replaces a subscription's settings and filter, but for order and `per_key_inflight`, if `revision` is the one that
    /// [`Subscriptions::list`] showed, or 0. Returns the new one.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`, `INVALID`, `REVISION_CHANGED`; [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn update(
        &self,
        name: &str,
        settings: v1::SubscriptionSettings,
        revision: u64,
    ) -> Result<u64, Error> {
        let request = v1::UpdateSubscriptionRequest {
            namespace: self.namespace(),
            queue: self.queue.clone(),
            name: name.to_owned(),
            settings: Some(settings),
            revision,
        };
        Ok(call!(self, update, request, Failed::of_change).revision)
    }

    /// Deletes a subscription and its progress.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`, `LAST_SUBSCRIPTION`; [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let request = v1::DeleteSubscriptionRequest {
            namespace: self.namespace(),
            queue: self.queue.clone(),
            name: name.to_owned(),
        };
        call!(self, delete, request, Failed::of_change);
        Ok(())
    }

    /// Leases nothing more until [`Subscriptions::resume`]; leases go on.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`; [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        self.set_paused(name, true).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// As [`Subscriptions::pause`].
    pub async fn resume(&self, name: &str) -> Result<(), Error> {
        self.set_paused(name, false).await
    }

    async fn set_paused(&self, name: &str, paused: bool) -> Result<(), Error> {
        let request = v1::PauseSubscriptionRequest {
            namespace: self.namespace(),
            queue: self.queue.clone(),
            name: name.to_owned(),
            paused,
        };
        call!(self, pause, request, Failed::of_change);
        Ok(())
    }

    /// Moves a subscription: its leases are revoked, what comes before is done, and the rest is as if never looked at.
    /// Returns the position at which it goes on.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`, `OUT_OF_RANGE`; [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn seek(&self, name: &str, to: Start) -> Result<u64, Error> {
        let request = v1::SeekRequest {
            namespace: self.namespace(),
            queue: self.queue.clone(),
            name: name.to_owned(),
            to: Some(to.to_wire()),
        };
        Ok(call!(self, seek, request, Failed::of_change).position)
    }

    /// Why nothing, or not more, is handed out, the gravest reason first; nothing if messages are handed out as they come.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`; [`Error::NoLeader`].
    pub async fn explain(&self, name: &str) -> Result<Vec<v1::Obstacle>, Error> {
        let request = v1::ExplainRequest {
            namespace: self.namespace(),
            queue: self.queue.clone(),
            subscription: name.to_owned(),
        };
        Ok(call!(self, explain, request, |failed: Failed| failed.error).obstacles)
    }

    /// Parked messages are ready again in their places, as if they had never failed; at most `per_second`, if that is not 0.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_QUEUE`, `UNKNOWN_SUBSCRIPTION`, `INVALID`; [`Error::NoLeader`]; [`Error::Unknown`].
    pub async fn redrive(
        &self,
        name: &str,
        which: &Selector,
        per_second: u32,
    ) -> Result<v1::UnparkResponse, Error> {
        self.unpark(name, v1::UnparkAction::Redrive, which, per_second).await
    }

    /// Parked messages are done; at most `per_second`, if that is not 0.
    ///
    /// # Errors
    /// As [`Subscriptions::redrive`].
    pub async fn discard(
        &self,
        name: &str,
        which: &Selector,
        per_second: u32,
    ) -> Result<v1::UnparkResponse, Error> {
        self.unpark(name, v1::UnparkAction::Discard, which, per_second).await
    }

    async fn unpark(
        &self,
        name: &str,
        action: v1::UnparkAction,
        which: &Selector,
        per_second: u32,
    ) -> Result<v1::UnparkResponse, Error> {
        let request = v1::UnparkRequest {
            namespace: self.namespace(),
            queue: self.queue.clone(),
            subscription: name.to_owned(),
            action: action.into(),
            selector: Some(which.to_wire()),
            per_second,
        };
        Ok(call!(self, unpark, request, Failed::of_change))
    }
}
