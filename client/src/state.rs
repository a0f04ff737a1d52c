//! The keyed state of a namespace.

use std::time::Duration;

use bytes::Bytes;
use quorate_proto::v1;
use quorate_proto::v1::state_client::StateClient;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::client::Client;
use crate::connect::MESSAGE_BYTES_MAX;
use crate::error::Error;

/// Longest that one question waits at the server, less than a node that hangs is given; longer waits ask again.
const WAIT_MAX: Duration = Duration::from_millis(700);

/// Small values that [transactions](crate::Transaction) write, by keys of the namespace. Reads are linearizable.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let seen = client.state().get("order/7").await?;
/// let next = client.transaction().require_unchanged("order/7", seen.as_ref()).put("order/7", "paid");
/// next.commit().await?; // refused if somebody wrote it in between
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct State {
    client: Client,
}

/// A key that is there, with its value.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// if let Some(entry) = client.state().get("order/7").await? {
///     println!("{} in version {}", entry.json::<String>()?, entry.version);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// The key.
    pub key: String,
    /// Grows with every write in the namespace: for [`crate::Transaction::require_version`].
    pub version: u64,
    /// The value.
    pub value: Bytes,
    /// When the key will be absent, in milliseconds since 1970 by the cluster's clock; 0: never.
    pub expires_ms: u64,
}

/// Keys as they were at one moment.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// let seen = client.state().get_all(&["order/7", "stock"]).await?; // at one moment
/// if let (Some(order), Some(stock)) = (seen.get("order/7"), seen.get("stock")) {
///     println!("{} and {}", order.json::<String>()?, stock.json::<u64>()?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Those that are there.
    pub entries: Vec<StateEntry>,
    /// The moment: after this entry of the log.
    pub applied_index: u64,
}

impl StateEntry {
    /// The value, from JSON.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.value).map_err(|error| Error::WrongType {
            what: format!("the value of {:?}", self.key),
            problem: error.to_string(),
        })
    }
}

impl Snapshot {
    /// The entry of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<&StateEntry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl State {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// A key, if it is there.
    ///
    /// # Errors
    /// Reason `INVALID` for what cannot be a key; [`Error::NoLeader`].
    pub async fn get(&self, key: &str) -> Result<Option<StateEntry>, Error> {
        Ok(self.get_all(&[key]).await?.entries.pop())
    }

    /// Those of the keys that are there, at most 256, as they are at one moment.
    ///
    /// # Errors
    /// As [`State::get`].
    pub async fn get_all(&self, keys: &[&str]) -> Result<Snapshot, Error> {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let request = v1::GetStateRequest { namespace: self.client.namespace.to_string(), keys };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).get(request).await?.into_inner()) }
        };
        let led = self.client.router.call(Instant::now() + self.client.timeout, ask).await;
        let response = led.map_err(|failed| failed.error)?.value;
        let entries = response.entries.into_iter().map(entry).collect();
        Ok(Snapshot { entries, applied_index: response.applied_index })
    }

    /// The keys that begin with `prefix` and come after `after`, in the order of their bytes, at most 1000; and whether there are more.
    ///
    /// # Errors
    /// Reason `INVALID`; [`Error::NoLeader`].
    pub async fn list(&self, prefix: &str, after: &str) -> Result<(Vec<StateEntry>, bool), Error> {
        let request = v1::ListStateRequest {
            namespace: self.client.namespace.to_string(),
            prefix: prefix.to_owned(),
            after: after.to_owned(),
            limit: 0,
        };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).list(request).await?.into_inner()) }
        };
        let led = self.client.router.call(Instant::now() + self.client.timeout, ask).await;
        let response = led.map_err(|failed| failed.error)?.value;
        Ok((response.entries.into_iter().map(entry).collect(), response.more))
    }

    /// Waits until what is there is as it is wanted, at most so long; `None` is an absent key. Returns what is there then, wanted or not. Versions that are
    /// written faster than they can be told may be passed over.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use quorate_client::{Client, Error, StateEntry};
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// let shipped = |seen: Option<&StateEntry>| seen.is_some_and(|entry| entry.value == r#""shipped""#);
    /// let order = client.state().wait_until("order/7", Duration::from_secs(20), shipped).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`State::get`].
    pub async fn wait_until(
        &self,
        key: &str,
        at_most: Duration,
        wanted: impl Fn(Option<&StateEntry>) -> bool,
    ) -> Result<Option<StateEntry>, Error> {
        let end = Instant::now() + at_most;
        let mut seen = self.get(key).await?;
        while !wanted(seen.as_ref()) && Instant::now() < end {
            let version = seen.as_ref().map_or(0, |seen| seen.version);
            seen = self.wait(key, version, end.saturating_duration_since(Instant::now())).await?;
        }
        Ok(seen)
    }

    /// Waits until the key has another version than this (0: until it is there), at most so long. Returns what is there then.
    ///
    /// # Errors
    /// As [`State::get`].
    pub async fn wait(
        &self,
        key: &str,
        version: u64,
        at_most: Duration,
    ) -> Result<Option<StateEntry>, Error> {
        let end = Instant::now() + at_most;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let wait_ms = u64::try_from(left.min(WAIT_MAX).as_millis()).unwrap_or(u64::MAX);
            let request = v1::AwaitStateRequest {
                namespace: self.client.namespace.to_string(),
                key: key.to_owned(),
                version,
                wait_ms,
            };
            let ask = |channel| {
                let request = request.clone();
                async move { Ok(grpc(channel).r#await(request).await?.into_inner()) }
            };
            let patience = left.min(WAIT_MAX) + self.client.timeout;
            let led = self.client.router.call(Instant::now() + patience, ask).await;
            let found = led.map_err(|failed| failed.error)?.value.entry.map(entry);
            if found.as_ref().map_or(0, |found| found.version) != version || Instant::now() >= end {
                return Ok(found);
            }
        }
    }
}

fn grpc(channel: tonic::transport::Channel) -> StateClient<tonic::transport::Channel> {
    StateClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn entry(entry: v1::StateEntry) -> StateEntry {
    let v1::StateEntry { key, version, value, expires_ms } = entry;
    StateEntry { key, version, value, expires_ms }
}
