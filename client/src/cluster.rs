//! The cluster as its nodes see it.

use quorate_proto::v1;
use quorate_proto::v1::cluster_client::ClusterClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::client::Client;
use crate::connect::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::leader::Failed;

/// The cluster and its members. Any node answers questions; the leader changes members.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example(client: Client) -> Result<(), Error> {
/// for replica in client.cluster().status().await? {
///     println!("{} has applied {}", replica.name, replica.applied);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Who the members are and who leads, as one node knows it.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if no endpoint answers within the client's timeout.
    pub async fn members(&self) -> Result<v1::MembersResponse, Error> {
        let deadline = Instant::now() + self.client.timeout;
        let ask =
            |channel| async move { Ok(grpc(channel).members(v1::MembersRequest {}).await?.into_inner()) };
        self.client.router.call_any(deadline, ask).await
    }

    /// Every replica's own account; one that did not answer is listed as unreachable.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if no endpoint answers within the client's timeout.
    pub async fn status(&self) -> Result<Vec<v1::ReplicaStatus>, Error> {
        let deadline = Instant::now() + self.client.timeout;
        let ask = |channel| async move {
            Ok(grpc(channel).status(v1::StatusRequest {}).await?.into_inner().replicas)
        };
        self.client.router.call_any(deadline, ask).await
    }

    /// Removes the member of this name for good: its data is of no use any more, and its id never used again. A node of the
    /// same name with an empty data directory may join later.
    ///
    /// # Errors
    /// Reasons `UNKNOWN_MEMBER`, `QUORUM_AT_RISK` if too few of the others answer to go on without it; [`Error::NoLeader`];
    /// [`Error::Unknown`], with the reason `UNKNOWN_MEMBER` if it is gone and an attempt of this call may have removed it.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let deadline = Instant::now() + self.client.timeout;
        let request = v1::RemoveMemberRequest { name: name.to_owned() };
        let ask = |channel| {
            let request = request.clone();
            async move { Ok(grpc(channel).remove_member(request).await?.into_inner()) }
        };
        self.client.router.call(deadline, ask).await.map(drop).map_err(Failed::of_change)
    }

    /// Which versions of the replicated data the members' programs read and write, and which one is active, as one node knows it.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if no endpoint answers within the client's timeout.
    pub async fn version(&self) -> Result<v1::VersionResponse, Error> {
        let deadline = Instant::now() + self.client.timeout;
        let ask =
            |channel| async move { Ok(grpc(channel).version(v1::VersionRequest {}).await?.into_inner()) };
        self.client.router.call_any(deadline, ask).await
    }

    /// Raises the active version to `to`, or to the highest that every member reads and writes. Returns the one that is active
    /// then. It is never lowered, and a program that does not read it can take part no more.
    ///
    /// # Errors
    /// Reason `VERSION_NOT_READ` if a member does not read it or does not answer; [`Error::NoLeader`]; [`Error::Unknown`]: it is
    /// harmless to ask again.
    pub async fn raise_version(&self, to: Option<u32>) -> Result<u32, Error> {
        let deadline = Instant::now() + self.client.timeout;
        let request = v1::RaiseVersionRequest { to: to.unwrap_or(0) };
        let ask =
            |channel| async move { Ok(grpc(channel).raise_version(request).await?.into_inner().active) };
        let led = self.client.router.call(deadline, ask).await.map_err(Failed::of_change)?;
        Ok(led.value)
    }
}

fn grpc(channel: Channel) -> ClusterClient<Channel> {
    ClusterClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}
